import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.store.pump import Pumps
from tests.fakes.signals import Signal

SIZES = pytest.mark.parametrize("is_large", [True, False])


def ignore() -> None:
    pass


class Disk:
    """Takes pieces once it is told that it may, and knows who brought them."""

    def __init__(self, *, is_ready: bool = True, fails_at: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self.calls = 0
        self.threads: set[str] = set()
        self.busy = Signal()
        self.ready = Signal()
        self._fails_at = fails_at
        if is_ready:
            self.ready.set()

    def append(self, pieces: Sequence[bytes]) -> None:
        self.busy.set()
        self.ready.wait_blocking()
        self.threads.add(threading.current_thread().name)
        self.calls += 1
        for piece in pieces:
            if len(self.pieces) == self._fails_at:
                raise OSError("full")
            self.pieces.append(piece)


async def write_many(disk: Disk, *, count: int = 10, is_large: bool) -> None:
    async with Pumps().open(disk.append, ignore, is_large=is_large) as pump:
        for _ in range(count):
            await pump.write(b"x")
        await pump.drain()


@given(pieces=st.lists(st.binary(min_size=1, max_size=5)), is_large=st.booleans())
async def test_pieces_arrive_in_order_and_all_of_them(pieces: list[bytes], is_large: bool) -> None:
    disk = Disk()

    async with Pumps().open(disk.append, ignore, is_large=is_large) as pump:
        for piece in pieces:
            await pump.write(piece)
        await pump.drain()
        assert disk.pieces == pieces


@SIZES
async def test_the_loop_is_told_of_each_write(is_large: bool) -> None:
    told: list[str] = []
    disk = Disk()

    async with Pumps().open(
        disk.append, lambda: told.append(threading.current_thread().name), is_large=is_large
    ) as pump:
        for _ in range(3):
            await pump.write(b"x")
        await pump.drain()

    assert told == [threading.current_thread().name] * disk.calls


async def test_what_queues_up_is_written_at_once() -> None:
    disk = Disk(is_ready=False)

    async with Pumps().open(disk.append, ignore, is_large=True) as pump:
        await pump.write(b"0")
        await disk.busy.wait()
        for piece in (b"1", b"2", b"3"):
            await pump.write(piece)
        disk.ready.set()
        await pump.drain()

    assert (disk.pieces, disk.calls) == ([b"0", b"1", b"2", b"3"], 2)


@SIZES
async def test_a_slow_disk_slows_who_writes(is_large: bool) -> None:
    disk = Disk(is_ready=False)

    writing = asyncio.get_running_loop().create_task(write_many(disk, is_large=is_large))
    await disk.busy.wait()
    _, pending = await asyncio.wait([writing], timeout=0.01)
    disk.ready.set()
    await writing

    assert pending == {writing}
    assert len(disk.pieces) == 10


@SIZES
async def test_a_disk_that_refuses_ends_the_writing(is_large: bool) -> None:
    disk = Disk(fails_at=2)

    with pytest.raises(OSError, match="full"):
        await write_many(disk, is_large=is_large)

    assert disk.pieces == [b"x", b"x"]


@SIZES
async def test_draining_tells_that_the_last_piece_was_refused(is_large: bool) -> None:
    disk = Disk(fails_at=0)

    with pytest.raises(OSError, match="full"):
        await write_many(disk, count=1, is_large=is_large)


@SIZES
async def test_no_write_is_under_way_once_a_cancelled_fill_has_ended(is_large: bool) -> None:
    disk = Disk(is_ready=False)

    async def write() -> None:
        async with Pumps().open(disk.append, ignore, is_large=is_large) as pump:
            await pump.write(b"x")
            await asyncio.Event().wait()

    writing = asyncio.get_running_loop().create_task(write())
    await disk.busy.wait()
    for _ in range(3):
        writing.cancel()
        await asyncio.wait([writing], timeout=0.01)
    was_done = writing.done()
    disk.ready.set()
    await asyncio.wait([writing])

    assert (was_done, writing.cancelled(), disk.pieces) == (False, True, [b"x"])


async def names_of_threads(pumps: Pumps, count: int, *, is_large: bool) -> list[set[str]]:
    """Write with `count` pumps that are open at once."""
    disks = [Disk() for _ in range(count)]
    barrier = asyncio.Barrier(count)

    async def write(append: Callable[[bytes], None]) -> None:
        async with pumps.open(append, ignore, is_large=is_large) as pump:
            await barrier.wait()
            await pump.write(b"x")

    async with asyncio.TaskGroup() as group:
        for disk in disks:
            group.create_task(write(disk.append))
    return [disk.threads for disk in disks]


async def test_large_fills_get_a_thread_each_up_to_a_number() -> None:
    pumps = Pumps()

    for _ in range(2):
        threads = await names_of_threads(pumps, 10, is_large=True)
        assert threads.count({"fill"}) == 8


async def test_small_fills_get_no_thread_of_their_own() -> None:
    assert {"fill"} not in await names_of_threads(Pumps(), 3, is_large=False)
