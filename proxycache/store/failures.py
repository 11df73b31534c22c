"""How often somebody has failed to sign in within a minute, counted over all processes.

A mapped file of a fixed size, so that hostile names and addresses take no more room than it has: a hash of the key
chooses a row of slots, and in a full row what has ended makes way, else what has failed least. Looking is a memory
read; only a failure writes, under a lock. The hash is keyed, so nobody can choose whom to push out.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from proxycache.clock import Clock
from proxycache.store.errors import StoreUnusable

WINDOW_SECONDS = 60.0
MOST_FAILURES = 10
ROWS = 512
SLOTS = 8
_SLOT = struct.Struct("<8sdQ")  # who, since when, how often
_ROW_BYTES = SLOTS * _SLOT.size
FILE_BYTES = ROWS * _ROW_BYTES
_LOCK_TRIES = 100
_LOCK_PAUSE_SECONDS = 0.001


class Failures:
    """The counts of one data directory, as this process sees them."""

    def __init__(self, path: Path, key: bytes, clock: Clock) -> None:
        """Open the file; raises StoreUnusable."""
        self._key = key
        self._clock = clock
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(self._descriptor, 0, FILE_BYTES)  # a sparse page on a full disk would be a SIGBUS
                self._map = mmap.mmap(self._descriptor, FILE_BYTES)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise StoreUnusable(path, error.strerror or str(error)) from error

    def close(self) -> None:
        """Unmap and close."""
        self._map.close()
        os.close(self._descriptor)

    def blocked_seconds(self, *who: str) -> float:
        """Return for how long `who` may not try; 0 for everybody who has not failed MOST_FAILURES times."""
        name, row = self._place(who)
        now = self._clock.now()
        for _, found, since, count in self._slots(row):
            if found == name and count >= MOST_FAILURES and _counts(since, now):
                return since + WINDOW_SECONDS - now
        return 0.0

    def add(self, *who: str) -> None:
        """Count a failure, from the first on for WINDOW_SECONDS. May wait for other processes: run it in a thread."""
        name, row = self._place(who)
        now = self._clock.now()
        self._lock()
        try:
            slots = list(self._slots(row))
            mine = next((slot for slot in slots if slot[1] == name and _counts(slot[2], now)), None)
            if mine is None:
                offset, since, count = min(slots, key=lambda slot: _worth(slot, now))[0], now, 0
            else:
                offset, _, since, count = mine
            _SLOT.pack_into(self._map, offset, name, since, count + 1)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> None:
        """Take the lock; go without it rather than wait for a process that was stopped while it held it."""
        for _ in range(_LOCK_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_LOCK_PAUSE_SECONDS)

    def _place(self, who: tuple[str, ...]) -> tuple[bytes, int]:
        text = "\0".join(who).encode(errors="replace")
        digest = hashlib.blake2b(text, key=self._key, digest_size=16).digest()
        return digest[:8], int.from_bytes(digest[8:]) % ROWS

    def _slots(self, row: int) -> Iterator[tuple[int, bytes, float, int]]:
        for offset in range(row * _ROW_BYTES, (row + 1) * _ROW_BYTES, _SLOT.size):
            name, since, count = _SLOT.unpack_from(self._map, offset)
            yield offset, name, since, count


def _counts(since: float, now: float) -> bool:
    return 0 <= now - since < WINDOW_SECONDS


def _worth(slot: tuple[int, bytes, float, int], now: float) -> tuple[int, float]:
    _, _, since, count = slot
    return (count, since) if _counts(since, now) else (0, 0.0)
