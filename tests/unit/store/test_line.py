"""The line's two clocks, on a clock that moves only by the waits themselves."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxycache.store.layout import Layout
from proxycache.store.line import Line, Lines
from tests.fakes.clock import FakeClock

RATE = 1_000_000
BURST = 0.05


class Taker:
    """A process on the line; `waited` is how long each piece had to, while time stands still for the others."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.waited: list[float] = []
        self.line = Line(path, clock, self._sleep)
        self._clock = clock
        self.moves_clock = False

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        if self.moves_clock:
            self._clock.advance(seconds)

    async def take(self, size: int, *, is_urgent: bool = False, is_wanted: bool = True) -> float:
        self.waited.clear()
        await self.line.take(size, RATE, is_urgent=is_urgent, is_wanted=lambda: is_wanted)
        return sum(self.waited)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def takers(tmp_path: Path, clock: FakeClock) -> Iterator[tuple[Taker, Taker]]:
    pair = Taker(tmp_path / "line", clock), Taker(tmp_path / "line", clock)
    yield pair
    for taker in pair:
        taker.line.close()


@pytest.mark.parametrize("is_urgent", [False, True])
async def test_the_rate_holds(takers, clock, is_urgent):
    taker, _ = takers
    taker.moves_clock = True
    begun = clock.monotonic()

    for _ in range(100):
        await taker.take(100_000, is_urgent=is_urgent)

    assert clock.monotonic() - begun == pytest.approx(9.9 - BURST)


async def test_processes_share_the_line_first_come_first_served(takers):
    one, other = takers

    waits = [await taker.take(500_000) for taker in (one, other, one, other)]

    assert waits == pytest.approx([0, 0.5 - BURST, 1.0 - BURST, 1.5 - BURST])


async def test_urgent_traffic_passes_bulk_which_makes_up_for_it(takers):
    one, other = takers
    await one.take(5_000_000)

    assert await other.take(1_000_000, is_urgent=True) == 0
    assert await other.take(1_000_000, is_urgent=True) == pytest.approx(1.0 - BURST)
    assert await one.take(1) == pytest.approx(7.0 - BURST)


async def test_what_nobody_reads_goes_only_on_an_idle_line(takers, clock):
    one, other = takers
    other.moves_clock = True
    await one.take(1_000_000)
    begun = clock.monotonic()

    await other.take(500_000, is_wanted=False)

    assert clock.monotonic() - begun == pytest.approx(1.0)
    assert max(other.waited) <= 0.05


async def test_what_comes_to_be_wanted_meanwhile_gets_its_slot(takers):
    taker, _ = takers
    await taker.take(1_000_000)
    taker.waited.clear()
    answers = iter([False, False, True])

    await taker.line.take(1, RATE, is_urgent=False, is_wanted=lambda: next(answers))

    assert len(taker.waited) == 3


async def test_an_idle_line_gathers_no_more_than_the_burst(takers, clock):
    taker, _ = takers
    await taker.take(100_000)
    clock.advance(3600)

    assert await taker.take(500_000) == 0
    assert await taker.take(500_000) == pytest.approx(0.5 - BURST)


async def test_what_an_earlier_boot_left_is_forgotten(takers, clock):
    taker, _ = takers
    await taker.take(100_000_000)
    clock.advance(-500)

    assert await taker.take(1) == 0


async def test_a_process_that_stopped_in_the_middle_holds_nobody_up(takers, tmp_path):
    taker, _ = takers
    with (tmp_path / "line").open("r+b") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)

        assert await taker.take(1) == 0


def test_each_upstream_has_one_line_and_a_refusing_disk_does_not_end_the_limit(tmp_path, clock):
    layout = Layout(tmp_path)
    lines = Lines(layout, clock)
    assert lines.of("docker.io") is lines.of("docker.io") is not lines.of("ghcr.io")  # there is no `lines/` yet
    lines.close()
    layout.prepare()

    lines.of("docker.io")

    assert layout.line("docker.io").exists()
    lines.close()
