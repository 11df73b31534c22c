import asyncio
import logging

import pytest

from proxycache.tasks import SingleFlight, Tasks, run_to_end
from tests.fakes.signals import Signal


async def fail() -> int:
    raise ValueError("broken")


async def wait_for_ever() -> int:
    await asyncio.Event().wait()
    raise AssertionError


async def test_spawned_work_runs_and_gives_its_result() -> None:
    async def work() -> int:
        return 5

    assert await Tasks().spawn("work", work()) == 5


async def test_a_failure_that_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    task = Tasks().spawn("work", fail())

    with caplog.at_level(logging.ERROR):
        await asyncio.wait([task])
        await asyncio.sleep(0)

    assert [record.message for record in caplog.records] == ["task failed"]
    assert caplog.records[0].task == "work"  # type: ignore[attr-defined]


async def test_a_failure_that_is_awaited_is_the_callers_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="broken"):
        await Tasks().see_through("work", fail())

    await asyncio.sleep(0)
    assert not caplog.records


async def test_work_that_is_seen_through_outlives_its_caller_and_then_tells_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, may_end = Signal(), Signal()

    async def work() -> None:
        begun.set()
        await may_end.wait()
        raise ValueError("broken")

    tasks = Tasks()
    caller = asyncio.get_running_loop().create_task(tasks.see_through("work", work()))
    await begun.wait()
    caller.cancel()
    await asyncio.wait([caller])
    assert not caplog.records

    may_end.set()
    while not caplog.records:
        await asyncio.sleep(0)

    assert [record.message for record in caplog.records] == ["task failed"]


async def test_closing_cancels_what_runs_and_waits_for_its_end(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    tasks = Tasks()
    tasks.detach("work", work())
    await asyncio.sleep(0)

    await tasks.close()

    assert ended == ["work"]
    assert not caplog.records


async def test_closing_waits_also_for_what_was_started_meanwhile() -> None:
    ended: list[str] = []
    tasks = Tasks()

    async def last_word() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("last word")

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tasks.detach("last word", last_word())
            await asyncio.sleep(0)

    tasks.detach("work", work())
    await asyncio.sleep(0)
    await tasks.close()

    assert ended == ["last word"]


async def test_what_is_nearly_done_comes_to_its_end_before_closing_cancels() -> None:
    tasks = Tasks()
    ended: list[str] = []

    async def work() -> None:
        with tasks.finishing():
            await asyncio.sleep(0.01)
            ended.append("work")
        await asyncio.Event().wait()

    tasks.detach("work", work())
    await asyncio.sleep(0)
    await tasks.close()

    assert ended == ["work"]


async def test_closing_does_not_wait_for_ever_for_a_last_moment() -> None:
    tasks = Tasks()

    async def work() -> None:
        with tasks.finishing():
            await wait_for_ever()

    task = tasks.spawn("work", work())
    await asyncio.sleep(0)
    await tasks.close()

    assert task.cancelled()


async def test_closing_with_nothing_to_do_is_fine() -> None:
    await Tasks().close()
    await SingleFlight[str, int]().close()


async def test_all_who_join_get_one_outcome() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    gate = asyncio.Event()
    started = 0

    async def work() -> int:
        nonlocal started
        started += 1
        await gate.wait()
        return started

    joined = [flights.start_or_join("key", work) for _ in range(5)]
    other = flights.start_or_join("other key", work)
    await asyncio.sleep(0)
    gate.set()

    assert [await asyncio.shield(task) for task in joined] == [2] * 5
    assert await other == 2
    assert started == 2


async def test_all_who_join_get_one_failure_and_nothing_stays_in_flight() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    joined = [flights.start_or_join("key", fail) for _ in range(3)]

    for task in joined:
        with pytest.raises(ValueError, match="broken"):
            await asyncio.shield(task)

    assert flights.find("key") is None


async def test_one_who_leaves_does_not_end_it_for_the_others() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    gate = asyncio.Event()

    async def work() -> int:
        await gate.wait()
        return 7

    async def ask() -> int:
        return await asyncio.shield(flights.start_or_join("key", work))

    leaver, stayer = (asyncio.get_running_loop().create_task(ask()) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    gate.set()

    assert await stayer == 7


async def test_a_failure_after_all_left_is_nobodys() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    task = flights.start_or_join("key", fail)
    await asyncio.wait([task])
    del task  # a failure that nobody retrieved would be reported now, and fail this test

    assert flights.find("key") is None


async def test_a_flight_that_has_ended_is_started_anew() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    numbers = iter(range(5))

    async def work() -> int:
        return next(numbers)

    assert await flights.start_or_join("key", work) == 0
    assert await flights.start_or_join("key", work) == 1


async def test_closing_ends_flights() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    task = flights.start_or_join("key", wait_for_ever)

    await flights.close()

    assert task.cancelled()
    assert flights.find("key") is None


async def test_blocking_work_gives_its_result_or_its_failure() -> None:
    assert await run_to_end(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await run_to_end(divmod, 7, 0)


async def test_blocking_work_is_never_left_behind() -> None:
    busy, may_end = Signal(), Signal()
    ended: list[str] = []

    def work() -> None:
        busy.set()
        may_end.wait_blocking()
        ended.append("work")

    waiting = asyncio.get_running_loop().create_task(run_to_end(work))
    await busy.wait()
    for _ in range(3):
        waiting.cancel()
        await asyncio.wait([waiting], timeout=0.01)
    was_done = waiting.done()
    may_end.set()
    await asyncio.wait([waiting])

    assert (was_done, waiting.cancelled(), ended) == (False, True, ["work"])
