"""One reader of a growing spool: what it may have now as parts of the file, then wait for more.

The reader survives its leader: it gets a new one led when the lock is free, and goes past the disk when the leader
lives but is stuck, or when the disk gave up. It does not survive a fill that starts over after bytes were sent.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO

from proxycache.oci.byte_range import Span
from proxycache.registry.fill_blob import Fills
from proxycache.registry.outcomes import decode_failure
from proxycache.registry.pass_through import pass_through
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.spool import Spool, servable
from proxycache.store.spool_record import Progress, SpoolState
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnreachable

LOOK_EVERY_SECONDS = 0.2
STUCK_AFTER_SECONDS = 5.0
_PART_BYTES = 4 * 1024 * 1024
_COMPLETE = (SpoolState.VERIFIED, SpoolState.PUBLISHED)


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes to be sent straight from a file, by absolute position."""

    file: BinaryIO
    offset: int
    size: int


class SpoolReader:
    """Reads one spool for one client; the caller keeps the spool in use meanwhile."""

    def __init__(self, fills: Fills, source: UpstreamRepository, spool: Spool, size: int | None) -> None:
        self._fills = fills
        self._source = source
        self._spool = spool
        self._size = size

    async def parts(self, start: int, stop: int | None) -> AsyncGenerator[FilePart | bytes, None]:
        """Yield the bytes from `start` up to `stop` (None: the end, which nobody knows yet).

        Raises UpstreamError when the rest cannot be had: cut the client then.
        """
        position = start
        generation = self._spool.progress().generation
        while stop is None or position < stop:
            progress = self._spool.progress()
            if progress.generation != generation:
                self._check_may_restart(progress, has_sent=position > start)
                generation = progress.generation
            if stop is None and progress.state in _COMPLETE:
                stop = progress.written
            limit = servable(progress) if stop is None else min(stop, servable(progress))
            if position < limit:
                size = min(limit - position, _PART_BYTES)
                yield FilePart(self._spool.data, position, size)
                position += size
            elif progress.state is SpoolState.FAILED or not await self._more(progress):
                async for piece in self._past_the_fill(progress, position, stop):
                    yield piece
                return

    def _check_may_restart(self, progress: Progress, *, has_sent: bool) -> None:
        is_other_size = progress.size is not None and self._size is not None and progress.size != self._size
        if has_sent or is_other_size:
            raise UpstreamMisbehaved(self._source.upstream, f"{self._spool.digest} turned out wrong and started over")

    async def _more(self, seen: Progress) -> bool:
        """Wait for more; False when no more can come from this fill because its leader is stuck."""
        spool = self._spool
        if await spool.wait_for_change(seen, seconds=LOOK_EVERY_SECONDS):
            return True
        self._fills.ensure_leader(self._source, spool, is_takeover=True)
        if spool.is_led_here or spool.progress() != seen:
            return True
        return not is_stuck(spool) and not spool.is_gone()

    async def _past_the_fill(self, progress: Progress, position: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        if progress.state is SpoolState.FAILED:
            failure = decode_failure(self._spool.failure)
            if failure.kind != "disk":
                raise failure.error()
        if self._size is None or stop is None:
            raise UpstreamUnreachable(self._source.upstream, f"the fill of {self._spool.digest} ended early")
        span = Span(start=position, stop=stop)
        passage = pass_through(
            self._source, self._spool.digest, span, size=self._size, prefix=self._spool.data if position else None
        )
        async with aclosing(passage) as pieces:
            async for piece in pieces:
                yield piece


def is_stuck(spool: Spool) -> bool:
    """Tell whether somebody holds the lease and does not move."""
    return not spool.is_led_here and spool.heartbeat_age > STUCK_AFTER_SECONDS
