"""Claims that all processes see: one holder per key, by `flock`, so that a claim ends with its holder.

A holder may leave an outcome for those who wait: they take it instead of doing the work again, so that one
question to an upstream serves the askers of every worker (invariant 5), also while the database is in trouble.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from proxycache.store.layout import Layout

_OUTCOME_LIMIT_BYTES = 64 * 1024
_FIRST_POLL_SECONDS = 0.002
_SLOWEST_POLL_SECONDS = 0.02


@dataclass(slots=True)
class Claim:
    """A claim on a key: `inherited` is what the holder before us left while we waited, else the claim is ours."""

    inherited: bytes | None = None
    descriptor: int | None = None

    def settle(self, outcome: bytes) -> None:
        """Leave `outcome` to those who wait for this claim in other processes; a full disk leaves them none."""
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self.descriptor, outcome[:_OUTCOME_LIMIT_BYTES], 0)


class Leases:
    """Claims below one data directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @contextlib.asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[Claim]:
        """Hold `key` against all other processes, or get the outcome of the holder that we waited for.

        Where the disk refuses even an empty file the claim is given unshared: trouble on disk must not fail a pull.
        """
        path = self._layout.lock(key)
        try:
            descriptor, inherited = await _acquire(path)
        except OSError:
            yield Claim()
            return
        try:
            yield Claim(inherited=inherited, descriptor=descriptor)
        finally:
            if inherited is None:
                path.unlink(missing_ok=True)
            os.close(descriptor)


async def _acquire(path: Path) -> tuple[int, bytes | None]:
    """Return the locked file, and what its last holder left in it while we waited."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await _lock(descriptor)
            outcome = os.pread(descriptor, _OUTCOME_LIMIT_BYTES, 0)
            if outcome:
                return descriptor, outcome
            if is_same_file(descriptor, path):
                return descriptor, None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


async def _lock(descriptor: int) -> None:
    pause = _FIRST_POLL_SECONDS
    while not try_lock(descriptor):
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _SLOWEST_POLL_SECONDS)


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file, without waiting; it is held until the file is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same_file(descriptor: int, path: Path) -> bool:
    """Tell whether `path` still names the open file: its last holder may have unlinked it while we waited."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
