import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxycache.store.hashed_file import HashedFile

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def test_pieces_are_written_and_hashed_in_order(descriptor: int, tmp_path: Path) -> None:
    file = HashedFile(descriptor, hashlib.sha256())

    file.append([CONTENT[:10], b"", CONTENT[10:5000]])
    file.append([CONTENT[5000:]])

    assert (tmp_path / "file").read_bytes() == CONTENT
    assert file.written == len(CONTENT)
    assert file.hash.hexdigest() == hashlib.sha256(CONTENT).hexdigest()


def test_what_is_there_is_hashed_up_to_a_place(descriptor: int) -> None:
    os.write(descriptor, CONTENT)
    file = HashedFile(descriptor, hashlib.sha256())
    told: list[int] = []

    file.take_over(2_000_000, lambda: told.append(file.written))
    file.append([b"else"])

    assert told == [1_048_576, 2_000_000]
    assert file.hash.hexdigest() == hashlib.sha256(CONTENT[:2_000_000] + b"else").hexdigest()
    assert os.pread(descriptor, 10, 2_000_000) == b"else" + CONTENT[2_000_004:2_000_010]


def test_a_file_that_is_shorter_ends_it(descriptor: int) -> None:
    os.write(descriptor, b"short")
    file = HashedFile(descriptor, hashlib.sha256())

    file.take_over(10)

    assert file.written == 5
