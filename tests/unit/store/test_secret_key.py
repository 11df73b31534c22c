"""The key is made once, whoever is first, and stays."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxycache.store.errors import StoreUnusable
from proxycache.store.secret_key import KEY_BYTES, open_key


def test_a_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "key"

    keys = [open_key(path), open_key(path)]

    assert keys[0] == keys[1] == path.read_bytes()
    assert (len(keys[0]), stat.S_IMODE(path.stat().st_mode)) == (KEY_BYTES, 0o600)
    assert open_key(tmp_path / "other") != keys[0]


def test_of_all_who_try_at_once_one_makes_it(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        for number in range(20):
            path = tmp_path / f"key{number}"
            assert len(set(threads.map(open_key, [path] * 16))) == 1
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_what_is_no_key_is_told_and_not_shown(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)

    with pytest.raises(StoreUnusable, match="remove it, and a new one is made") as refused:
        open_key(path)

    assert "short" not in str(refused.value)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StoreUnusable):
        open_key(tmp_path / "none" / "key")
