"""Many who change one file of users at once lose nothing of each other."""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_stays_its_owners_and_never_is_anybody_elses(tmp_path, monkeypatch):
    path = tmp_path / "users"
    set_user(path, "ann", HASH, is_new=True)
    path.chmod(0o640)
    os.chown(path, 12345, 54321)
    renamed = []
    monkeypatch.setattr(
        "proxycache.store.durable._rename",
        lambda source, target: renamed.append(source.stat()) or source.rename(target),
    )

    changes = [
        set_user(path, "bob", HASH, is_new=True),
        set_user(path, "ann", HASH, is_new=False),
        remove_user(path, "bob"),
    ]

    assert changes == [True] * 3
    kept = [(each.st_uid, each.st_gid, stat.S_IMODE(each.st_mode)) for each in (*renamed, path.stat())]
    assert kept == [(12345, 54321, 0o640)] * 4


def test_who_may_not_keep_the_owner_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "users"
    set_user(path, "ann", HASH, is_new=True)

    def refuse(*_arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.fchown", refuse)
    with pytest.raises(PermissionError, match="cannot be replaced: Operation not permitted") as refused:
        set_user(path, "bob", HASH, is_new=True)

    assert refused.value.filename == str(path)
    assert (list_users(path), list(tmp_path.iterdir())) == (["ann"], [path])


def test_the_same_user_is_added_once(tmp_path):
    path = tmp_path / "users"
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda _: set_user(path, "ann", HASH, is_new=True), range(8)))

    assert (sum(added), list_users(path)) == (1, ["ann"])
