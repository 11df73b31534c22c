"""The small mmap'ed record beside a spool: how any process sees what the leader does.

    slot  0 state   1 size + 1 (0: unknown)   2 written bytes   3 heartbeat, monotonic ns   4 attempt   5 generation
          6 length of the failure   7 when a reader waited last, monotonic ns
    bytes 64 to 96: for whom the leader fetches, as a sha256; from 128 on: the failure; both opaque here

Only the leader stores, one aligned 8-byte slot at a time, the bytes of the data file before `written`; everybody
else only loads, but for slot 7, which readers store. A record of zeros is one that nobody has led yet. It outlives a
dead leader and a restart.
"""

import mmap
import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_RECORD_BYTES = 4096
_FETCHED_FOR = slice(64, 96)
_FAILURE_OFFSET = 128
_FAILURE_LIMIT = _RECORD_BYTES - _FAILURE_OFFSET


class SpoolState(IntEnum):
    """Where a fill stands. FAILED may be led again; PUBLISHED is final.

    EMPTY: hardly begun, or its leader hashes again what is there. REHASHED: that is done, or all is forgotten,
    and the upstream is asked.
    """

    EMPTY = 0
    FILLING = 1
    VERIFIED = 2
    PUBLISHED = 3
    FAILED = 4
    REHASHED = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """What a reader needs to know, at one moment."""

    state: SpoolState
    size: int | None
    written: int
    attempt: int
    generation: int


class SpoolRecord:
    """One open record; `descriptor` carries the leader's lock."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Not ftruncate: a page of a sparse file that the full disk cannot give would be a SIGBUS.
            os.posix_fallocate(self.descriptor, 0, _RECORD_BYTES)
            self._map = mmap.mmap(self.descriptor, _RECORD_BYTES)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._bytes = memoryview(self._map)
        self._slots = self._bytes[:_FAILURE_OFFSET].cast("q")

    def close(self) -> None:
        """Unmap and close, which gives the lock back."""
        self._slots.release()
        self._bytes.release()
        self._map.close()
        os.close(self.descriptor)

    def progress(self) -> Progress:
        """Read the record as it was in one generation; `state` first, so that what it promises is seen as well."""
        slots = self._slots
        while True:
            generation = slots[5]
            state, size, written, attempt = slots[0], slots[1], slots[2], slots[4]
            if slots[5] == generation:  # else the bytes that were counted are forgotten by now
                return Progress(SpoolState(state), size - 1 if size else None, written, attempt, generation)

    @property
    def heartbeat(self) -> float:
        """When the leader last said that it lives, in monotonic seconds."""
        return self._slots[3] / 1e9

    @property
    def failure(self) -> bytes:
        """What the last failed attempt left."""
        return bytes(self._bytes[_FAILURE_OFFSET : _FAILURE_OFFSET + self._slots[6]])

    @property
    def fetched_for(self) -> bytes:
        """For whom the last leader fetches: 32 bytes."""
        return bytes(self._bytes[_FETCHED_FOR])

    @property
    def wanted_at(self) -> float:
        """When a reader, in whatever process, last waited for more, in monotonic seconds."""
        return self._slots[7] / 1e9

    def want(self, now_monotonic: float) -> None:
        """Say that a reader waits for more."""
        self._slots[7] = int(now_monotonic * 1e9)

    def beat(self, now_monotonic: float) -> None:
        """Say that the leader lives."""
        self._slots[3] = int(now_monotonic * 1e9)

    def begin_attempt(self, now_monotonic: float, *, fetched_for: bytes, written: int) -> None:
        """A leader begins, with the `written` bytes that are there."""
        self.beat(now_monotonic)
        self._slots[2] = written
        self._bytes[_FETCHED_FOR] = fetched_for
        self._slots[4] += 1
        self._slots[0] = SpoolState.EMPTY

    def begin_generation(self) -> None:
        """Forget all bytes: whoever has sent some of them must not go on, and what the headers said counts no more."""
        self._slots[0] = SpoolState.REHASHED
        self._slots[2] = 0
        self._slots[1] = 0
        self._slots[5] += 1

    def set_rehashed(self, written: int) -> None:
        """So many bytes that are there have been hashed again."""
        self._slots[2] = written
        self._slots[0] = SpoolState.REHASHED

    def set_filling(self, size: int | None) -> None:
        """The upstream's headers are here."""
        self._slots[1] = 0 if size is None else size + 1
        self._slots[0] = SpoolState.FILLING

    def set_written(self, written: int) -> None:
        """So many bytes of the data file are there."""
        self._slots[2] = written

    def set_verified(self) -> None:
        """All bytes are there and agree with the digest: the tail may go."""
        self._slots[1] = self._slots[2] + 1
        self._slots[0] = SpoolState.VERIFIED

    def set_published(self) -> None:
        """The data file is a blob now."""
        self._slots[0] = SpoolState.PUBLISHED

    def set_failed(self, failure: bytes) -> None:
        """The attempt ended; `failure` tells everybody who waited why."""
        failure = failure[:_FAILURE_LIMIT]
        self._bytes[_FAILURE_OFFSET : _FAILURE_OFFSET + len(failure)] = failure
        self._slots[6] = len(failure)
        self._slots[0] = SpoolState.FAILED
