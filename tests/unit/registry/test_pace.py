from collections.abc import Iterator

import pytest

from proxycache.policy.bandwidth import Bandwidth, RateRule
from proxycache.registry.pace import URGENT_BYTES, Pace
from proxycache.store.line import Line
from tests.fakes.clock import FakeClock

SIZE = 1_000_000


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def pace(waits: list[float]) -> Iterator[Pace]:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    clock = FakeClock(hour=12)
    line = Line(None, clock, sleep)
    yield Pace(bandwidth=Bandwidth(rules=(RateRule(hours=(8, 18), rate=SIZE),)), line=line, clock=clock)
    line.close()


async def take(pace: Pace, received: int) -> None:
    await pace.take(SIZE, received=received, is_wanted=lambda: True)


async def test_the_beginning_of_an_answer_passes_the_bulk_of_others(pace, waits):
    await take(pace, URGENT_BYTES)
    await take(pace, 0)
    assert waits == []

    await take(pace, URGENT_BYTES)

    assert waits == [pytest.approx(1.95)]


async def test_at_an_hour_without_a_limit_nothing_waits(pace, waits):
    pace.clock.hour = 20

    for _ in range(10):
        await take(pace, URGENT_BYTES)

    assert waits == []
