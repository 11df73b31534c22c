import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxycache.maintenance import schedule
from proxycache.maintenance.schedule import run_hourly, run_hourly_in_turn
from proxycache.store.errors import StoreBusy
from proxycache.store.layout import Layout
from proxycache.store.leases import Claim, Leases


class WatchedLeases(Leases):
    """Tells when so many have come for a claim."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.came = asyncio.Semaphore(0)

    @contextlib.asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[Claim]:
        self.came.release()
        async with super().claim(key) as claim:
            yield claim


@pytest.fixture
def leases(tmp_path: Path) -> WatchedLeases:
    layout = Layout(tmp_path / "store")
    layout.prepare()
    return WatchedLeases(layout)


async def test_what_fails_is_told_and_tried_the_next_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(schedule, "HOURLY_SECONDS", 0.0)
    has_run, runs = asyncio.Event(), 0

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise StoreBusy(Path("proxycache.db"))
        has_run.set()

    running = asyncio.ensure_future(run_hourly("count", job))  # noqa: TID251 - ended below
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(10):
            await has_run.wait()
    running.cancel()

    assert [record.getMessage() for record in caplog.records] == ["cannot count"]


async def test_of_workers_that_wake_together_one_does_it(leases: WatchedLeases) -> None:
    began, may_end, runs = asyncio.Event(), asyncio.Event(), 0

    async def job() -> None:
        nonlocal runs
        runs += 1
        began.set()
        await may_end.wait()

    workers = [asyncio.ensure_future(run_hourly_in_turn("count", job, leases)) for _ in range(2)]  # noqa: TID251
    async with asyncio.timeout(10):
        await began.wait()
        for _ in workers:
            await leases.came.acquire()
        may_end.set()
        async with leases.claim("count"):  # both have let go of it then
            pass
    for each in workers:
        each.cancel()

    assert runs == 1
