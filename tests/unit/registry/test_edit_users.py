"""Many who change one file of users at once lose nothing of each other."""

from concurrent.futures import ThreadPoolExecutor

import bcrypt

from proxycache.registry.edit_users import list_users, remove_user, set_user

HASH = bcrypt.hashpw(b"x", bcrypt.gensalt(4))


def test_all_who_were_added_at_once_are_there(tmp_path):
    path = tmp_path / "users"
    names = [f"user{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda name: set_user(path, name, HASH, is_new=True), names))
        removed = list(threads.map(lambda name: remove_user(path, name), names[::2]))

    assert all(added)
    assert all(removed)
    assert sorted(list_users(path)) == sorted(names[1::2])


def test_the_same_user_is_added_once(tmp_path):
    path = tmp_path / "users"
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda _: set_user(path, "ann", HASH, is_new=True), range(8)))

    assert (sum(added), list_users(path)) == (1, ["ann"])
