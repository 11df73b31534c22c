import subprocess
import sys

from proxycache.clock import SystemClock
from tests.fakes.clock import FakeClock

ASK = "from proxycache.clock import SystemClock; print(SystemClock().monotonic())"


def test_durations_never_go_back() -> None:
    clock = SystemClock()
    moments = [clock.monotonic() for _ in range(100)]

    assert moments == sorted(moments)


def test_all_processes_share_the_time_for_durations() -> None:
    before = SystemClock().monotonic()
    elsewhere = float(subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True).stdout)

    assert before <= elsewhere <= SystemClock().monotonic()


def test_the_time_for_people_is_in_this_century() -> None:
    assert 1_700_000_000 < SystemClock().now() < 4_000_000_000


def test_the_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(now=100.0, monotonic=5.0)

    clock.advance(10)
    clock.jump(-50)

    assert (clock.now(), clock.monotonic()) == (60.0, 15.0)
