"""Claims that all processes see: one holder per key, by `flock`, so that a claim ends with its holder.

A holder may leave an outcome for those who wait: they take it instead of doing the work again, so that one
question to an upstream serves the askers of every worker (invariant 5), also while the database is in trouble.
A holder touches its file as long as it lives; one that stopped doing so is not waited for.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxycache.store.layout import Layout

_OUTCOME_LIMIT_BYTES = 64 * 1024
_FIRST_POLL_SECONDS = 0.002
_SLOWEST_POLL_SECONDS = 0.02
_HEARTBEAT_SECONDS = 0.5
STUCK_AFTER_SECONDS = 5.0


@dataclass(slots=True)
class Claim:
    """A claim on a key: `inherited` is what the holder before us left while we waited, else the claim is ours."""

    inherited: bytes | None = None
    outcome: bytes = b""

    def settle(self, outcome: bytes) -> None:
        """Leave `outcome` to those who wait for this claim in other processes."""
        self.outcome = outcome


class Leases:
    """Claims below one data directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._is_closing = False

    def close(self) -> None:
        """Leave no outcome from now on: what fails now fails because this process ends, and others try themselves."""
        self._is_closing = True

    @contextlib.asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[Claim]:
        """Hold `key` against all other processes, or get the outcome of the holder that we waited for.

        Where the disk refuses even an empty file, or the holder is stuck, the claim is given unshared: neither must
        fail a pull.
        """
        path = self._layout.lock(key)
        try:
            descriptor, inherited = await _acquire(path)
        except OSError:
            yield Claim()
            return
        claim = Claim(inherited=inherited)
        try:
            with _heartbeat(descriptor):
                yield claim
        finally:
            if inherited is None:
                self._leave(claim, descriptor)
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def _leave(self, claim: Claim, descriptor: int) -> None:
        if claim.outcome and not self._is_closing:
            with contextlib.suppress(OSError):  # a full disk leaves them none
                os.pwrite(descriptor, claim.outcome[:_OUTCOME_LIMIT_BYTES], 0)


async def _acquire(path: Path) -> tuple[int, bytes | None]:
    """Return the locked file, and what its last holder left in it while we waited."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            has_waited = await _lock(descriptor)
            outcome = os.pread(descriptor, _OUTCOME_LIMIT_BYTES, 0) if has_waited else b""
            if outcome:
                return descriptor, outcome
            if is_same_file(descriptor, path):
                os.ftruncate(descriptor, 0)  # a holder that was killed may have left an outcome, of whatever age
                return descriptor, None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


async def _lock(descriptor: int) -> bool:
    """Take the lock, and tell whether somebody had it; raises TimeoutError (an OSError) if that one is stuck."""
    pause, has_waited = _FIRST_POLL_SECONDS, False
    loop = asyncio.get_running_loop()
    beat, beat_seen_at = 0, loop.time()
    while not try_lock(descriptor):
        has_waited = True
        last_beat = os.fstat(descriptor).st_mtime_ns
        if last_beat != beat:
            beat, beat_seen_at = last_beat, loop.time()
        elif loop.time() - beat_seen_at > STUCK_AFTER_SECONDS:
            raise TimeoutError
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _SLOWEST_POLL_SECONDS)
    return has_waited


@contextlib.contextmanager
def _heartbeat(descriptor: int) -> Iterator[None]:
    """Touch the file while the block runs, so that who waits sees that its holder lives."""
    heart = asyncio.get_running_loop().create_task(_beat(descriptor))
    try:
        yield
    finally:
        heart.cancel()


async def _beat(descriptor: int) -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        with contextlib.suppress(OSError):
            os.utime(descriptor)


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
