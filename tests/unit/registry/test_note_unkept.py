"""What is not kept is told once for each blob and reason, and again after an hour; the memory is bounded."""

import errno
import logging

import pytest

from proxycache.oci.digest import Digest, digest_of
from proxycache.registry.note_unkept import MOST_REMEMBERED, SAID_AGAIN_SECONDS, Unkept
from proxycache.store.errors import StoreFull
from tests.fakes.clock import FakeClock

NAME = "docker.io/library/alpine"
ONE, OTHER = digest_of(b"one"), digest_of(b"other")


def full(digest: Digest, size: int = 1) -> StoreFull:
    return StoreFull(digest, size)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def unkept(clock: FakeClock) -> Unkept:
    return Unkept(clock)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {(record.levelno, record.message) for record in caplog.records} <= {(logging.WARNING, "cannot keep blob")}
    return [vars(record)["digest"] for record in caplog.records]


def test_each_blob_and_reason_is_told_once(unkept: Unkept, caplog: pytest.LogCaptureFixture) -> None:
    for size in (1, 2):  # how much was lacking is no other reason
        unkept.note(NAME, ONE, full(ONE, size))
        unkept.note(NAME, OTHER, full(OTHER, size))
        unkept.note(NAME, ONE, OSError(errno.ENOSPC, "No space left on device"))
        unkept.note(NAME, ONE, OSError(errno.EIO, "Input/output error"))

    assert told(caplog) == [str(ONE), str(OTHER), str(ONE), str(ONE)]
    assert vars(caplog.records[0])["repository"] == NAME
    assert "beyond max_size" in vars(caplog.records[0])["why"]


@pytest.mark.parametrize(("seconds", "times"), [(SAID_AGAIN_SECONDS - 1, 1), (SAID_AGAIN_SECONDS, 2)])
def test_after_an_hour_it_is_told_again(
    unkept: Unkept, clock: FakeClock, caplog: pytest.LogCaptureFixture, seconds: float, times: int
) -> None:
    unkept.note(NAME, ONE, full(ONE))
    clock.advance(seconds)
    unkept.note(NAME, ONE, full(ONE))
    unkept.note(NAME, ONE, full(ONE))

    assert told(caplog) == [str(ONE)] * times


def test_the_oldest_is_forgotten_first(unkept: Unkept, caplog: pytest.LogCaptureFixture) -> None:
    for digest in [ONE, *(digest_of(str(number).encode()) for number in range(MOST_REMEMBERED - 1))]:
        unkept.note(NAME, digest, full(digest))
    caplog.clear()

    unkept.note(NAME, ONE, full(ONE))
    unkept.note(NAME, OTHER, full(OTHER))  # one too many
    unkept.note(NAME, ONE, full(ONE))

    assert told(caplog) == [str(OTHER), str(ONE)]
