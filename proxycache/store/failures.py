"""How often somebody has failed to sign in within a minute, counted over all processes.

An attempt counts as failed until it is known that it was right, so that many at once are no way around the limit.

A mapped file of a fixed size, so that hostile names and addresses take no more room than it has: a hash of the key
chooses a row of slots, and in a full row what has ended makes way, else what has failed least. Looking is a memory
read; only an attempt writes, under a lock. The hash is keyed, so nobody can choose whom to push out.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

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

_Slot: TypeAlias = tuple[int, bytes, float, int]  # where it is, and what it holds


class Failures:
    """The counts of one data directory, as this process sees them."""

    def __init__(self, path: Path, key: bytes, clock: Clock) -> None:
        """Open the file; raises StoreUnusable."""
        self._key = key
        self._clock = clock
        self._threads = threading.Lock()
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
        mine = _find(self._slots(row), name, now)
        return mine[2] + WINDOW_SECONDS - now if mine is not None and mine[3] >= MOST_FAILURES else 0.0

    def add(self, *who: str) -> float:
        """Count an attempt as failed, from the first on for WINDOW_SECONDS, unless `who` may not try.

        Returns for how long not, 0 if it was counted. May wait for other processes: run it in a thread.
        """
        name, row = self._place(who)
        now = self._clock.now()
        with self._locked():
            slots = list(self._slots(row))
            mine = _find(slots, name, now)
            if mine is None:
                offset, since, count = min(slots, key=lambda slot: _worth(slot, now))[0], now, 0
            else:
                offset, _, since, count = mine
            if count >= MOST_FAILURES:
                return since + WINDOW_SECONDS - now
            _SLOT.pack_into(self._map, offset, name, since, count + 1)
        return 0.0

    def take_back(self, *who: str) -> None:
        """Count one less, of an attempt that was right. May wait as `add` does."""
        name, row = self._place(who)
        with self._locked():
            mine = _find(self._slots(row), name, self._clock.now())
            if mine is not None:
                offset, _, since, count = mine
                left = (name, since, count - 1) if count > 1 else (b"", 0.0, 0)
                _SLOT.pack_into(self._map, offset, *left)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; go without it rather than wait for a process that was stopped while it held it."""
        with self._threads:  # which have one descriptor, and so one lock of the file
            for _ in range(_LOCK_TRIES):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(_LOCK_PAUSE_SECONDS)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _place(self, who: tuple[str, ...]) -> tuple[bytes, int]:
        text = "\0".join(who).encode(errors="replace")
        digest = hashlib.blake2b(text, key=self._key, digest_size=16).digest()
        return digest[:8], int.from_bytes(digest[8:]) % ROWS

    def _slots(self, row: int) -> Iterator[_Slot]:
        for offset in range(row * _ROW_BYTES, (row + 1) * _ROW_BYTES, _SLOT.size):
            name, since, count = _SLOT.unpack_from(self._map, offset)
            yield offset, name, since, count


def _find(slots: Iterable[_Slot], name: bytes, now: float) -> _Slot | None:
    return next((slot for slot in slots if slot[1] == name and _counts(slot[2], now)), None)


def _counts(since: float, now: float) -> bool:
    return 0 <= now - since < WINDOW_SECONDS


def _worth(slot: _Slot, now: float) -> tuple[int, float]:
    _, _, since, count = slot
    return (count, since) if _counts(since, now) else (0, 0.0)
