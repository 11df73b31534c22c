"""A disk and a budget smaller than the work, with real worker processes on a file system of their own."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.store.layout import Layout
from tests.builders import Content, blob, content
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, Answer, Connection, RunningCache, blob_path, wait_until

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
            before = self._look_at_disk()
            taken = subprocess.run(["du", "-s", "-B1", self._directory], capture_output=True, text=True, check=False)
            # du counts a file twice that is renamed while it walks: there is never more than the disk has given away.
            self.most_taken = max(self.most_taken, min(int(taken.stdout.split()[0]), max(before, self._look_at_disk())))

    def _look_at_disk(self) -> int:
        status = os.statvfs(self._directory)
        self.least_free = min(self.least_free, status.f_bavail * status.f_frsize)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def end(self) -> None:
        self._has_ended.set()
        self.join()


@contextmanager
def watching(disk: Path) -> Iterator[None]:
    """Fail if at any moment of this more is taken, or less is free, than the bounds allow."""
    watch = Watch(disk)
    watch.start()
    try:
        yield
    finally:
        watch.end()
    assert watch.most_taken <= BUDGET
    assert watch.least_free >= MIN_FREE


class Work:
    """What clients pull from a cache: ten blobs and a huge one in a row, then eight at once."""

    def __init__(self, upstream: ThreadedRegistry) -> None:
        self.ten = [upstream.add_blob(NAME, blob(16 * MIB, seed=number)) for number in range(10)]
        self.huge = upstream.add_blob(NAME, content(blob(MIB, seed="huge").body * 256))
        self.eight = [upstream.add_blob(NAME, blob(16 * MIB, seed=f"at once {number}")) for number in range(8)]

    def check_all(self, cache: RunningCache) -> None:
        """Pull all of it; every byte must be right."""
        for wanted in [*self.ten, self.huge]:
            assert is_right(cache.get(blob_path(wanted.digest)), wanted.body)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda each: cache.get(blob_path(each.digest)), self.eight))
        assert all(is_right(answer, wanted.body) for answer, wanted in zip(answers, self.eight, strict=True))


class StuckReader:
    """A client that reads a part of a body and then nothing, until it goes on."""

    def __init__(self, connection: Connection, wanted: Content) -> None:
        self._wanted = wanted
        self._connection = connection
        connection.http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        assert connection.ask(blob_path(wanted.digest)) == 200
        self._begun = connection.read(MIB)

    def check_rest(self) -> None:
        """Go on: all of it comes."""
        assert is_right(self._connection.finish(begun=self._begun), self._wanted.body)


def test_every_byte_is_right_and_the_bounds_hold(disk: Path, upstream: ThreadedRegistry) -> None:
    work = Work(upstream)
    with RunningCache(disk, upstream.url) as cache:
        with watching(disk):
            work.check_all(cache)
        cache.check_blobs()


def test_readers_that_are_stuck_in_the_middle_break_no_bound_and_hold_nobody_up(
    disk: Path, upstream: ThreadedRegistry
) -> None:
    work = Work(upstream)
    held, filled = (upstream.add_blob(NAME, blob(16 * MIB, seed=name)) for name in ("held", "filled"))
    with RunningCache(disk, upstream.url) as cache:
        assert is_right(cache.get(blob_path(held.digest)), held.body)
        cache.wait_until_published(held.digest)
        with watching(disk):
            stuck = [
                StuckReader(connection, wanted)
                for wanted in (held, filled, work.huge)
                for connection in cache.connect_each(1)
            ]
            work.check_all(cache)
            for reader in stuck:
                reader.check_rest()
            assert is_right(cache.get(blob_path(held.digest)), held.body)
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


@pytest.mark.parametrize("is_running", [True, False])
def test_a_disk_that_another_program_filled_to_the_last_byte_gets_its_free_room_back(
    disk: Path, upstream: ThreadedRegistry, *, is_running: bool
) -> None:
    held = [upstream.add_blob(NAME, blob(16 * MIB, seed=number)) for number in range(3)]
    with RunningCache(disk, upstream.url) as cache:
        for content in held:
            assert is_right(cache.get(blob_path(content.digest)), content.body)
            cache.wait_until_published(content.digest)
        wait_until(cache.layout.ballast.exists, "ballast")
        if not is_running:
            assert cache.terminate() == 0  # the last one leaves no log that could be written to
            cache.kill_all()
        left = leave_behind(cache.layout)
        fill_up(disk)
        if not is_running:
            cache.start()

        assert all(is_right(cache.get(blob_path(each.digest)), each.body) for each in held)
        wait_until(lambda: free_bytes(disk) >= MIN_FREE and cache.layout.ballast.exists(), "room")
        assert not left.exists()
        cache.check_blobs()


def leave_behind(layout: Layout) -> Path:
    """Leave what a worker leaves that was killed between the publication of a blob and its row: it counts as long."""
    published = blob(2 * MIB, seed="left behind")
    digest = parse_digest(published.digest)
    layout.blob(digest).parent.mkdir(parents=True, exist_ok=True)
    layout.blob(digest).write_bytes(published.body)
    reservation = layout.reservation(digest)
    reservation.touch()
    os.truncate(reservation, 2 * MIB)
    return reservation


def fill_up(disk: Path) -> None:
    """Leave not one byte."""
    with (disk / "filler").open("ab") as file:
        while free := free_bytes(disk):
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)


def free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def is_right(answer: Answer, body: bytes) -> bool:
    return (answer.status, answer.is_complete) == (200, True) and answer.body == body
