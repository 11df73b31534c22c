"""The line to one upstream, shared by all workers: who may take how many bytes from it, and when.

Two virtual clocks in a small mapped file say until when the line is taken; each process moves them under a lock that
is held for microseconds. Urgent traffic waits for the urgent clock only, so that it never stands behind bulk; it moves
the bulk clock as well, so that bulk makes up for it. Bulk waits for its slot, first come first served. Bulk that
nobody reads goes only while nobody else has taken the line.
"""

import asyncio
import contextlib
import fcntl
import logging
import mmap
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from proxycache.clock import Clock
from proxycache.store.layout import Layout

logger = logging.getLogger(__name__)

_BYTES = 4096
_BULK, _URGENT, _SEEN = 0, 1, 2  # slots of monotonic nanoseconds; the last: when a clock was moved last
_BURST = 50_000_000
_LOOK_AGAIN = 20_000_000
_LOCK_TRIES = 100
_LOCK_PAUSE_SECONDS = 0.001

Sleep = Callable[[float], Awaitable[object]]


class Line:
    """One upstream's line as this process sees it. Raises OSError where the disk refuses its file."""

    def __init__(self, path: Path | None, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        """Open the line at `path`; None: one that this process has for itself."""
        self._clock = clock
        self._sleep = sleep
        if path is None:
            self._descriptor = os.memfd_create("line", os.MFD_CLOEXEC)
        else:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, _BYTES)  # a sparse page on a full disk would be a SIGBUS
            self._map = mmap.mmap(self._descriptor, _BYTES)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._slots = memoryview(self._map).cast("q")

    def close(self) -> None:
        """Unmap and close."""
        self._slots.release()
        self._map.close()
        os.close(self._descriptor)

    async def take(self, size: int, rate: int, *, is_urgent: bool, is_wanted: Callable[[], bool]) -> None:
        """Wait until `size` bytes may go at `rate` bytes per second."""
        cost = size * 1_000_000_000 // rate
        has_slot = False
        while not has_slot:
            needs_idle = not is_urgent and not is_wanted()
            await self._lock()
            try:
                ahead = self._ahead(is_urgent=is_urgent)
                has_slot = not needs_idle or ahead <= 0
                if has_slot:
                    self._move(cost, is_urgent=is_urgent)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            wait = ahead - _BURST if has_slot else min(ahead, _LOOK_AGAIN)
            if wait > 0:
                await self._sleep(wait / 1e9)

    async def _lock(self) -> None:
        """Take the lock; go without it rather than wait for a process that was stopped while it held it."""
        for _ in range(_LOCK_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)

    def _ahead(self, *, is_urgent: bool) -> int:
        """Return for how many nanoseconds the line is taken; what an earlier boot left counts no more."""
        now, slots = self._now(), self._slots
        if slots[_SEEN] > now:
            slots[_BULK] = slots[_URGENT] = 0
        slots[_SEEN] = now
        return int(slots[_URGENT if is_urgent else _BULK]) - now

    def _move(self, cost: int, *, is_urgent: bool) -> None:
        now, slots = self._slots[_SEEN], self._slots
        for slot in (_URGENT, _BULK) if is_urgent else (_BULK,):
            slots[slot] = max(slots[slot], now) + cost

    def _now(self) -> int:
        return int(self._clock.monotonic() * 1e9)


class Lines:
    """The lines that this process has open, one for each upstream that has a limit."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._open: dict[str, Line] = {}

    def of(self, upstream: str) -> Line:
        """Return the line to `upstream`; where the disk refuses to share it, one for this process alone."""
        if upstream not in self._open:
            try:
                line = Line(self._layout.line(upstream), self._clock)
            except OSError as error:
                logger.warning("each worker keeps the limit by itself", extra={"upstream": upstream, "why": str(error)})
                line = Line(None, self._clock)
            self._open[upstream] = line
        return self._open[upstream]

    def close(self) -> None:
        """Close them all."""
        for line in self._open.values():
            line.close()
        self._open.clear()
