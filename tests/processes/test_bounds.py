"""A disk and a budget smaller than the work, with real worker processes on a file system of their own."""

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.builders import blob, content
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, Answer, RunningCache, blob_path

MIB = 1024 * 1024
BUDGET = 60 * MIB
MIN_FREE = 8 * MIB

pytestmark = pytest.mark.clients  # mounting a disk needs root as they do


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 100 MiB, and the bounds for it."""
    monkeypatch.setenv("PROXYCACHE_STORAGE__MAX_SIZE", str(BUDGET))
    monkeypatch.setenv("PROXYCACHE_STORAGE__MIN_FREE", str(MIN_FREE))
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", mounted], check=True)
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


class Watch(threading.Thread):
    """Looks at the disk all the time, as `du` and `statfs` do."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.most_taken = 0
        self.least_free = 2**60
        self._directory = directory
        self._has_ended = threading.Event()

    def run(self) -> None:
        while not self._has_ended.wait(0.01):
            taken = subprocess.run(["du", "-s", "-B1", self._directory], capture_output=True, text=True, check=False)
            self.most_taken = max(self.most_taken, int(taken.stdout.split()[0]))
            status = os.statvfs(self._directory)
            self.least_free = min(self.least_free, status.f_bavail * status.f_frsize)

    def end(self) -> None:
        self._has_ended.set()
        self.join()


def test_every_byte_is_right_and_the_bounds_hold(disk: Path, upstream: ThreadedRegistry) -> None:
    ten = [upstream.add_blob(NAME, blob(16 * MIB, seed=number)) for number in range(10)]
    huge = upstream.add_blob(NAME, content(blob(MIB, seed="huge").body * 256))
    eight = [upstream.add_blob(NAME, blob(16 * MIB, seed=f"at once {number}")) for number in range(8)]
    with RunningCache(disk, upstream.url) as cache:
        watch = Watch(disk)
        watch.start()
        try:
            answers = [cache.get(blob_path(each.digest)) for each in [*ten, huge]]
            with ThreadPoolExecutor(8) as pool:
                answers += list(pool.map(lambda each: cache.get(blob_path(each.digest)), eight))
        finally:
            watch.end()

        for wanted, answer in zip([*ten, huge, *eight], answers, strict=True):
            assert is_right(answer, wanted.body)
        assert watch.most_taken <= BUDGET
        assert watch.least_free >= MIN_FREE
        cache.check_blobs()


def test_another_program_that_fills_the_disk_fails_no_pull(disk: Path, upstream: ThreadedRegistry) -> None:
    wanted = [upstream.add_blob(NAME, blob(16 * MIB, seed=number)) for number in range(4)]
    with RunningCache(disk, upstream.url) as cache:
        assert is_right(cache.get(blob_path(wanted[0].digest)), wanted[0].body)
        filler = disk / "filler"
        status = os.statvfs(disk)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - MIB)

        assert all(is_right(cache.get(blob_path(each.digest)), each.body) for each in wanted)

        filler.unlink()
        assert is_right(cache.get(blob_path(wanted[3].digest)), wanted[3].body)
        cache.wait_until_published(wanted[3].digest)


def is_right(answer: Answer, body: bytes) -> bool:
    return (answer.status, answer.is_complete) == (200, True) and answer.body == body
