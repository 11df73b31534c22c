import asyncio
from contextlib import AsyncExitStack

import pytest

from proxycache.store.layout import Layout
from proxycache.store.leases import Leases, is_same_file, try_lock
from tests.unit.store.conftest import StartProcess

KEY = "tag docker.io/library/alpine latest"
HOLDER = """\
import asyncio, sys
from pathlib import Path
from proxycache.store.layout import Layout
from proxycache.store.leases import Leases

async def hold():
    async with Leases(Layout(Path(sys.argv[1]))).claim(sys.argv[2]):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(hold())
"""


@pytest.fixture
def leases(layout: Layout) -> Leases:
    return Leases(layout)


async def test_a_claim_is_ours_and_leaves_nothing_behind(leases: Leases, layout: Layout) -> None:
    async with leases.claim(KEY) as claim:
        assert claim.inherited is None
        assert layout.lock(KEY).exists()

    assert list(layout.locks.iterdir()) == []


async def test_claims_on_other_keys_do_not_wait(leases: Leases) -> None:
    async with leases.claim("a") as first, leases.claim("b") as second:
        assert first.inherited is second.inherited is None


async def test_who_waited_gets_the_outcome(leases: Leases, layout: Layout) -> None:
    async def wait() -> bytes | None:
        async with Leases(layout).claim(KEY) as claim:
            return claim.inherited

    async with asyncio.TaskGroup() as group, leases.claim(KEY) as claim:
        waiting = [group.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        claim.settle(b"outcome")

    assert [task.result() for task in waiting] == [b"outcome"] * 3


async def test_who_waited_for_a_holder_without_an_outcome_claims_it(leases: Leases, layout: Layout) -> None:
    async def wait() -> bytes | None:
        async with Leases(layout).claim(KEY) as claim:
            assert layout.lock(KEY).exists()
            return claim.inherited

    async with asyncio.TaskGroup() as group, leases.claim(KEY):
        waiting = group.create_task(wait())
        await asyncio.sleep(0)

    assert waiting.result() is None


async def test_who_comes_later_asks_again(leases: Leases) -> None:
    async with leases.claim(KEY) as claim:
        claim.settle(b"outcome")

    async with leases.claim(KEY) as later:
        assert later.inherited is None


async def test_a_claim_ends_with_its_holders_process(
    leases: Leases, layout: Layout, start_process: StartProcess
) -> None:
    holder = start_process(HOLDER, layout.directory, KEY)
    assert holder.stdout is not None
    await asyncio.to_thread(holder.stdout.readline)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        waiting = group.create_task(stack.enter_async_context(leases.claim(KEY)))
        await asyncio.sleep(0)

        holder.kill()

        assert (await waiting).inherited is None


async def test_what_a_killed_holder_left_is_no_outcome_for_who_comes_later(leases: Leases, layout: Layout) -> None:
    layout.lock(KEY).write_bytes(b"old outcome")

    async with leases.claim(KEY) as claim:
        assert claim.inherited is None
        assert layout.lock(KEY).read_bytes() == b""

    assert not layout.lock(KEY).exists()


async def test_a_process_that_ends_leaves_no_outcome_of_its_end(leases: Leases, layout: Layout) -> None:
    async def wait() -> bytes | None:
        async with Leases(layout).claim(KEY) as claim:
            return claim.inherited

    async with asyncio.TaskGroup() as group, leases.claim(KEY) as claim:
        waiting = group.create_task(wait())
        await asyncio.sleep(0)
        leases.close()
        claim.settle(b"connection closed")

    assert waiting.result() is None


async def test_of_many_claimers_one_works_at_a_time(layout: Layout) -> None:
    working = 0
    most = 0

    async def work() -> None:
        nonlocal working, most
        async with Leases(layout).claim(KEY):
            working += 1
            most = max(most, working)
            await asyncio.sleep(0)
            working -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(work())

    assert most == 1


async def test_who_is_cancelled_while_waiting_holds_nothing(leases: Leases, layout: Layout) -> None:
    async with leases.claim(KEY):
        waiting = asyncio.timeout(0.01)
        with pytest.raises(TimeoutError):
            async with waiting, Leases(layout).claim(KEY):
                pass

    async with leases.claim(KEY) as claim:
        assert claim.inherited is None


async def test_where_the_disk_refuses_the_claim_is_given_unshared(leases: Leases, layout: Layout) -> None:
    layout.locks.rmdir()

    async with leases.claim(KEY) as claim:
        claim.settle(b"for nobody")
        assert claim.inherited is None


def test_an_open_file_has_one_lock(layout: Layout) -> None:
    path = layout.locks / "file"
    with path.open("w") as first, path.open("w") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno())


def test_a_file_that_was_unlinked_or_replaced_is_not_the_same(layout: Layout) -> None:
    path = layout.locks / "file"
    with path.open("w") as file:
        assert is_same_file(file.fileno(), path)
        path.unlink()
        assert not is_same_file(file.fileno(), path)
        path.touch()
        assert not is_same_file(file.fileno(), path)
