"""Failures are counted for a minute, over all who have the file open, in a file that does not grow."""

import gc
import multiprocessing
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from proxycache.store import failures as store_failures
from proxycache.store.errors import StoreUnusable
from proxycache.store.failures import FILE_BYTES, MOST_FAILURES, ROWS, SLOTS, WINDOW_SECONDS, Failures
from tests.fakes.clock import FakeClock

KEY = b"k" * 32


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_failures(tmp_path, clock):
    opened = []

    def open_failures(key: bytes = KEY) -> Failures:
        opened.append(Failures(tmp_path / "failures", key, clock))
        return opened[-1]

    yield open_failures
    for each in opened:
        each.close()


def fail(failures: Failures, *who: str, times: int = MOST_FAILURES) -> None:
    for _ in range(times):
        failures.add(*who)


def test_the_last_failure_that_is_one_too_many_blocks_for_the_rest_of_the_minute(open_failures, clock):
    failures = open_failures()
    fail(failures, "ann", "::1", times=MOST_FAILURES - 1)
    before = failures.blocked_seconds("ann", "::1")
    clock.advance(20)
    failures.add("ann", "::1")

    assert (before, failures.blocked_seconds("ann", "::1")) == (0.0, WINDOW_SECONDS - 20)


@pytest.mark.parametrize("other", [("bob", "::1"), ("ann", "::2"), ("ann::", "1"), ("", "ann::1")])
def test_others_are_not_blocked(open_failures, other):
    failures = open_failures()
    fail(failures, "ann", "::1")

    assert failures.blocked_seconds(*other) == 0.0


def test_a_minute_after_the_first_it_begins_anew(open_failures, clock):
    failures = open_failures()
    fail(failures, "ann")
    clock.advance(WINDOW_SECONDS)
    after = failures.blocked_seconds("ann")
    fail(failures, "ann", times=MOST_FAILURES - 1)

    assert (after, failures.blocked_seconds("ann")) == (0.0, 0.0)


def test_a_clock_that_was_set_back_blocks_nobody_for_long(open_failures, clock):
    failures = open_failures()
    fail(failures, "ann")
    clock.jump(-86_400)

    assert failures.blocked_seconds("ann") == 0.0


def test_all_who_have_it_open_count_together_and_later_ones_too(open_failures):
    first, second = open_failures(), open_failures()
    fail(first, "ann", times=MOST_FAILURES // 2)
    fail(second, "ann", times=MOST_FAILURES // 2)

    assert first.blocked_seconds("ann") == second.blocked_seconds("ann") == WINDOW_SECONDS
    assert open_failures().blocked_seconds("ann") == WINDOW_SECONDS


def test_who_may_not_try_is_not_counted_and_told_for_how_long(open_failures, clock):
    failures = open_failures()
    told = [failures.add("ann") for _ in range(MOST_FAILURES)]
    clock.advance(20)

    assert (told, failures.add("ann")) == ([0.0] * MOST_FAILURES, WINDOW_SECONDS - 20)
    failures.take_back("ann")
    assert failures.blocked_seconds("ann") == 0.0


def test_what_is_taken_back_was_not_counted(open_failures, clock):
    failures = open_failures()
    failures.add("ann")
    for _ in range(2):  # one more than there are
        failures.take_back("ann")
    clock.advance(20)
    fail(failures, "ann")

    assert failures.blocked_seconds("ann") == WINDOW_SECONDS


def test_none_is_lost_when_threads_fail_at_once(open_failures, monkeypatch):
    monkeypatch.setattr("proxycache.store.failures.MOST_FAILURES", 4000)
    failures, start = open_failures(), threading.Barrier(4)

    def fail_in_a_thread(_number: int) -> None:
        start.wait()
        fail(failures, "ann", times=1000)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(fail_in_a_thread, range(4)))
    finally:
        sys.setswitchinterval(interval)

    assert failures.blocked_seconds("ann") == WINDOW_SECONDS


def fail_in_a_process(path: Path, start: Barrier) -> None:
    store_failures.MOST_FAILURES = 6000
    failures = Failures(path, KEY, FakeClock())
    start.wait()
    fail(failures, "ann", times=3000)
    failures.close()


def test_none_is_lost_when_processes_fail_at_once(open_failures, tmp_path, monkeypatch):
    monkeypatch.setattr("proxycache.store.failures.MOST_FAILURES", 6000)
    failures = open_failures()
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    processes = [spawn.Process(target=fail_in_a_process, args=(tmp_path / "failures", start)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    assert failures.blocked_seconds("ann") == WINDOW_SECONDS
    del start, processes, process
    gc.collect()  # what they hold ends here, not in the middle of another test


def test_any_number_of_names_takes_no_more_room_and_pushes_nobody_out_who_is_blocked(open_failures, tmp_path):
    failures = open_failures()
    fail(failures, "ann")

    for number in range(2 * ROWS * SLOTS):
        failures.add(f"hostile{number}")

    assert (tmp_path / "failures").stat().st_size == FILE_BYTES
    assert failures.blocked_seconds("ann") == WINDOW_SECONDS


def test_who_ended_makes_way_first(open_failures, clock):
    failures = open_failures()
    for number in range(2 * ROWS * SLOTS):
        fail(failures, f"old{number}", times=2)
    clock.advance(WINDOW_SECONDS)
    failures.add("ann")
    for number in range(3 * ROWS):
        failures.add(f"new{number}")
    fail(failures, "ann", times=MOST_FAILURES - 1)

    assert failures.blocked_seconds("ann") == WINDOW_SECONDS


def test_a_place_that_cannot_be_written_is_told(tmp_path, clock):
    with pytest.raises(StoreUnusable, match="failures"):
        Failures(tmp_path / "none" / "failures", KEY, clock)
