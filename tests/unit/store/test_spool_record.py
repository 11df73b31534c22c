from collections.abc import Iterator
from pathlib import Path

import pytest

from proxycache.store.spool_record import Progress, SpoolRecord, SpoolState
from tests.unit.store.conftest import StartProcess

OWNER = bytes(range(32))
GENERATIONS = """\
import sys
from pathlib import Path
from proxycache.store.spool_record import SpoolRecord

record = SpoolRecord(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    record.begin_generation()
    generation = record.progress().generation
    for step in range(3):
        record.set_written(generation * 1000 + step)
"""


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SpoolRecord]:
    record = SpoolRecord(tmp_path / "record")
    yield record
    record.close()


def read_elsewhere(tmp_path: Path) -> tuple[Progress, bytes, bytes]:
    other = SpoolRecord(tmp_path / "record")
    try:
        return other.progress(), other.failure, other.fetched_for
    finally:
        other.close()


def test_a_new_record_says_that_nobody_has_led_yet(record: SpoolRecord) -> None:
    assert record.progress() == Progress(SpoolState.EMPTY, None, 0, 0, 0)
    assert record.failure == b""


def test_what_a_leader_stores_is_seen_by_everybody(record: SpoolRecord, tmp_path: Path) -> None:
    record.begin_attempt(5.0, fetched_for=OWNER, written=7)
    record.set_filling(100)
    record.set_written(40)

    assert read_elsewhere(tmp_path) == (Progress(SpoolState.FILLING, 100, 40, 1, 0), b"", OWNER)


@pytest.mark.parametrize("size", [None, 0, 1, 2**40])
def test_a_size_of_nothing_is_not_an_unknown_one(record: SpoolRecord, size: int | None) -> None:
    record.set_filling(size)

    assert record.progress().size == size


def test_verified_means_that_the_size_is_what_was_written(record: SpoolRecord) -> None:
    record.set_filling(None)
    record.set_written(12)

    record.set_verified()

    assert record.progress() == Progress(SpoolState.VERIFIED, 12, 12, 0, 0)


def test_a_generation_forgets_size_bytes_and_headers(record: SpoolRecord) -> None:
    record.set_filling(100)
    record.set_written(40)

    record.begin_generation()

    assert record.progress() == Progress(SpoolState.REHASHED, None, 0, 0, 1)


def test_a_generation_is_never_read_with_the_bytes_of_another(
    record: SpoolRecord, tmp_path: Path, start_process: StartProcess
) -> None:
    writer = start_process(GENERATIONS, tmp_path / "record")
    assert writer.stdout is not None
    writer.stdout.readline()

    seen = [record.progress() for _ in range(50_000)]

    assert len({progress.generation for progress in seen}) > 10
    assert all(
        progress.written in (0, *range(progress.generation * 1000, progress.generation * 1000 + 3)) for progress in seen
    )


def test_an_attempt_begins_with_the_bytes_that_are_there(record: SpoolRecord) -> None:
    record.set_filling(100)
    record.set_written(90)

    record.begin_attempt(1.0, fetched_for=OWNER, written=30)

    assert record.progress() == Progress(SpoolState.EMPTY, 100, 30, 1, 0)


def test_the_last_failure_stays_readable_after_its_attempt(record: SpoolRecord, tmp_path: Path) -> None:
    record.set_failed(b"first and longer")
    record.set_failed(b"second")

    assert read_elsewhere(tmp_path)[1] == b"second"
    assert record.progress().state is SpoolState.FAILED


def test_a_failure_that_is_too_long_is_cut(record: SpoolRecord) -> None:
    record.set_failed(b"x" * 10_000)

    assert record.failure == b"x" * (4096 - 128)


def test_the_heartbeat_is_when_the_leader_last_said_so(record: SpoolRecord) -> None:
    record.beat(12.5)

    assert record.heartbeat == 12.5


def test_a_record_outlives_who_wrote_it(tmp_path: Path) -> None:
    first = SpoolRecord(tmp_path / "record")
    first.set_filling(100)
    first.set_written(40)
    first.close()

    assert read_elsewhere(tmp_path)[0] == Progress(SpoolState.FILLING, 100, 40, 0, 0)


def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SpoolRecord(tmp_path / "missing" / "record")


def test_a_reader_says_that_it_waits_and_nothing_else_changes(record, tmp_path):
    before = record.progress()
    reader = SpoolRecord(tmp_path / "record")

    reader.want(12.5)
    reader.close()

    assert record.wanted_at == 12.5
    assert record.progress() == before
