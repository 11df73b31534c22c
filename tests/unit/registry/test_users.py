"""A file of users is read anew when it has changed, and only then."""

import os

import bcrypt
import pytest

from proxycache.registry.users import Users
from proxycache.store.errors import StoreUnusable

HASH = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()


async def test_a_change_is_seen_at_once(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"ann:{HASH}\n")
    users = Users(path)
    before = await users.hashes()
    path.write_text(f"ann:{HASH}\nbob:{HASH}\n")

    assert (list(before), list(await users.hashes())) == (["ann"], ["ann", "bob"])


async def test_what_did_not_change_is_not_read_again(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"ann:{HASH}\n")
    users = Users(path)

    assert await users.hashes() is await users.hashes()


async def test_a_file_that_got_another_owner_is_tried_again(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"ann:{HASH}\n")
    users = Users(path)
    first = await users.hashes()
    os.chmod(path, 0o600)

    assert await users.hashes() is not first


async def test_a_broken_file_counts_as_it_was_until_it_is_mended(tmp_path, caplog):
    path = tmp_path / "users"
    path.write_text(f"ann:{HASH}\n")
    users = Users(path)
    await users.hashes()
    path.write_text("broken\n")
    broken = [await users.hashes() for _ in range(3)]
    path.write_text(f"bob:{HASH}\n")

    assert [list(each) for each in broken] == [["ann"]] * 3
    assert len(caplog.records) == 1
    assert list(await users.hashes()) == ["bob"]


async def test_a_file_that_was_never_right_is_trouble_and_no_answer(tmp_path):
    users = Users(tmp_path / "users")
    for _ in range(2):
        with pytest.raises(StoreUnusable):
            await users.hashes()
    (tmp_path / "users").write_text(f"ann:{HASH}\n")

    assert list(await users.hashes()) == ["ann"]


async def test_without_a_file_there_is_nobody():
    assert await Users(None).hashes() == {}
