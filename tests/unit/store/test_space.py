"""How much room there is, by what lies on the disk."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxycache.oci.digest import Digest, digest_of
from proxycache.store.layout import Layout
from proxycache.store.settings import StorageSettings
from proxycache.store.space import Space
from tests.disk import open_files

DIGEST, OTHER = digest_of(b"a"), digest_of(b"b")
MIB = 1024 * 1024


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    return layout


def space_of(layout: Layout, *, max_size: int = 100 * MIB, min_free: int = 0) -> Space:
    return Space(layout, StorageSettings(directory=layout.directory, max_size=max_size, min_free=min_free))


def let_other_process(do: Callable[[], object]) -> None:
    """Do it in a process that dies behind it."""
    child = os.fork()
    if child == 0:
        try:
            do()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def promise_to_small_blobs(space: Space) -> int:
    assert space.renew_allowance(space.allowance.size, 0) <= 0
    return space.allowance.size


async def test_cached_bytes_and_promises_leave_less(layout: Layout) -> None:
    space = space_of(layout)
    before = space.available(0)

    assert space.reserve(DIGEST, 10 * MIB, 0) <= 0

    assert before <= 100 * MIB
    assert space.available(20 * MIB) == before - 30 * MIB
    assert space.available(20 * MIB, besides=layout.reservation(DIGEST).name) == before - 20 * MIB
    await space.release(DIGEST)
    assert space.available(0) == before


def test_what_a_spool_has_on_disk_counts_once(layout: Layout) -> None:
    space = space_of(layout)
    before = space.available(0)
    layout.spool_data(DIGEST).write_bytes(b"x" * (4 * MIB))

    assert space.reserve(DIGEST, 10 * MIB, 0) <= 0

    assert space.available(0) == before - 10 * MIB
    assert space.available(0, besides=layout.reservation(DIGEST).name) == before - 4 * MIB


def test_what_a_spool_has_on_disk_is_a_part_of_what_it_needs(layout: Layout) -> None:
    space = space_of(layout)
    there = space.available(0)
    layout.spool_data(DIGEST).write_bytes(b"x" * (4 * MIB))

    assert space.reserve(OTHER, there, 0) == 4 * MIB
    assert not layout.reservation(OTHER).exists()
    assert space.reserve(DIGEST, there, 0) == 0
    assert layout.reservation(DIGEST).stat().st_size == there


def test_promises_alone_take_no_disk(layout: Layout) -> None:
    space_of(layout).reserve(DIGEST, 50 * MIB, 0)

    assert layout.reservation(DIGEST).stat().st_blocks == 0


def test_min_free_bounds_what_may_come(layout: Layout) -> None:
    assert space_of(layout, min_free=2**60).available(0) < 0
    assert space_of(layout, max_size=0, min_free=2**60).available(0) < 0


def test_what_is_not_in_the_budget_has_the_disk_but_for_promises(layout: Layout) -> None:
    space = space_of(layout, max_size=0)
    before = space.available_on_disk()

    assert space.reserve(DIGEST, before // 2, 0) <= 0

    assert space_of(layout, max_size=1).available_on_disk() < before * 3 // 4
    assert space_of(layout, min_free=2**60).available_on_disk() < 0


def test_no_limit_fits_everything_but_a_budget_only_what_is_smaller(layout: Layout) -> None:
    assert space_of(layout, max_size=0).fits(2**60)
    assert space_of(layout, max_size=10).fits(10)
    assert not space_of(layout, max_size=10).fits(11)
    assert space_of(layout, max_size=100 * MIB).headroom == 5 * MIB


async def test_what_another_living_process_has_promised_counts(layout: Layout) -> None:
    own, other = space_of(layout), space_of(layout)
    before = own.available(0), own.available_on_disk()

    other.reserve(OTHER, 10 * MIB, 0)  # its spool may not be there yet
    promised = 10 * MIB + promise_to_small_blobs(other)

    assert own.available(0) == before[0] - promised
    assert own.available_on_disk() <= before[1] - promised + MIB  # of others on this disk
    other.close()
    assert own.available(0) == before[0]


def test_what_a_dead_process_has_promised_does_not_count(layout: Layout) -> None:
    own, other = space_of(layout), space_of(layout)
    before = own.available(0)
    let_other_process(lambda: [other.reserve(OTHER, 10 * MIB, 0), promise_to_small_blobs(other)])
    assert layout.reservation(OTHER).stat().st_size == 10 * MIB
    assert [path.stat().st_size for path in layout.allowances.iterdir()] == [own.allowance.size]

    assert own.available(0) == before
    assert not layout.reservation(OTHER).exists()


def test_of_a_dead_process_only_what_it_has_written_counts(layout: Layout) -> None:
    own, other = space_of(layout), space_of(layout)
    before = own.available(0)
    let_other_process(lambda: other.reserve(OTHER, 10 * MIB, 0))
    layout.spool_data(OTHER).write_bytes(b"x" * MIB)

    assert own.available(0) == before - MIB
    assert own.left_behind() == []


def test_a_promise_of_a_dead_process_can_be_taken_over(layout: Layout) -> None:
    own, other, third = (space_of(layout) for _ in range(3))
    before = own.available(0)
    let_other_process(lambda: other.reserve(OTHER, 10 * MIB, 0))

    own.reserve(OTHER, 8 * MIB, 0)

    assert third.available(0) == before - 8 * MIB


def test_a_promise_that_grows_counts_once(layout: Layout) -> None:
    own, other = space_of(layout), space_of(layout)
    before = other.available(0)

    for size in (4 * MIB, 8 * MIB):
        assert own.reserve(DIGEST, size, 0) <= 0

    assert other.available(0) == before - 8 * MIB


def test_a_promise_that_somebody_else_ended_is_made_anew(layout: Layout) -> None:
    own, other = space_of(layout), space_of(layout)
    before = other.available(0)
    own.reserve(DIGEST, 4 * MIB, 0)
    layout.reservation(DIGEST).unlink()

    own.reserve(DIGEST, 8 * MIB, 0)

    assert other.available(0) == before - 8 * MIB


async def test_what_is_published_and_may_have_no_row_counts_until_that_was_seen_to(layout: Layout) -> None:
    own, other = space_of(layout), space_of(layout)
    before = own.available(0)
    for digest in (DIGEST, OTHER):
        publish(layout, digest)
    let_other_process(lambda: other.reserve(OTHER, 10 * MIB, 0))
    other.reserve(DIGEST, 10 * MIB, 0)

    assert own.available(0) == before - 20 * MIB
    assert own.left_behind() == [OTHER]  # the other's process lives, and makes its row
    await own.release(OTHER)
    assert own.available(0) == before - 10 * MIB


async def test_both_kinds_of_promises_end_together(layout: Layout) -> None:
    space = space_of(layout)
    spent = space.allowance.spent
    promise_to_small_blobs(space)
    space.allowance.renewed(spent)
    assert space.allowance.give(DIGEST, 4096)
    space.reserve(DIGEST, 10 * MIB, 0)

    await space.release(DIGEST)

    assert not layout.reservation(DIGEST).exists()
    assert not space.allowance.given


def publish(layout: Layout, digest: Digest) -> None:
    layout.blob(digest).parent.mkdir(parents=True)
    layout.blob(digest).touch()


async def test_what_was_given_ends_without_a_thread(layout: Layout) -> None:
    space = space_of(layout)
    spent = space.allowance.spent
    promise_to_small_blobs(space)
    space.allowance.renewed(spent)
    assert space.allowance.give(DIGEST, 4096)
    threads = ThreadPoolExecutor(1)
    threads.shutdown()  # whoever needs one fails
    asyncio.get_running_loop().set_default_executor(threads)

    await space.release(DIGEST)

    assert not space.allowance.given


def test_own_promises_are_counted_without_opening_their_files(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = space_of(layout), space_of(layout)
    before = own.available(0)
    own.reserve(DIGEST, 4 * MIB, 0)
    other.reserve(OTHER, 8 * MIB, 0)
    opened, really_open = [], os.open

    def note(path: Path, *more: int) -> int:
        opened.append(path)
        return really_open(path, *more)

    monkeypatch.setattr(os, "open", note)

    assert own.available(0) == before - 12 * MIB
    assert opened == [layout.reservation(OTHER)]


async def test_a_promise_whose_row_could_not_be_made_is_left_behind_and_holds_no_file_open(layout: Layout) -> None:
    own = space_of(layout)
    before = own.available(0)
    own.reserve(DIGEST, 10 * MIB, 0)
    publish(layout, DIGEST)
    assert own.left_behind() == []
    assert open_files(layout.spools) == [str(layout.reservation(DIGEST))]

    await own.leave(DIGEST)

    assert open_files(layout.spools) == []
    assert (own.left_behind(), own.available(0)) == ([DIGEST], before - 10 * MIB)
    await own.release(DIGEST)
    assert (own.left_behind(), own.available(0)) == ([], before)


async def test_a_promise_that_ends_while_it_is_made_breaks_nothing(layout: Layout) -> None:
    space = space_of(layout)
    path = layout.reservation(DIGEST)
    loop = asyncio.get_running_loop()
    looking = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_EX)  # as who looks whether a process lives: its maker waits for us

    reserving = loop.run_in_executor(None, space.reserve, DIGEST, MIB, 0)
    while len(open_files(path)) < 2:
        await asyncio.sleep(0.001)
    releasing = loop.create_task(space.release(DIGEST))
    await asyncio.wait([releasing], timeout=0.2)  # it waits for the other
    os.close(looking)

    assert await reserving <= 0
    await releasing
    assert not path.exists()
    assert open_files(path) == []
