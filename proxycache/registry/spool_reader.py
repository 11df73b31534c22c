"""One reader of a growing spool: what it may have now as parts of the file, then wait for more.

The reader survives its leader: it gets a new one led when the lock is free, and goes past the disk when the leader
lives but is stuck, or when the disk gave up. It does not survive a fill that starts over after bytes were sent.
"""

import asyncio
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
from proxycache.upstream.errors import UpstreamMisbehaved

LOOK_EVERY_SECONDS = 0.2
STUCK_AFTER_SECONDS = 5.0
_PART_BYTES = 4 * 1024 * 1024
# A fast fill grows by a little thousands of times a second; each sendfile costs as much as half a megabyte.
_WORTH_SENDING_BYTES = 512 * 1024
_PAUSE_SECONDS = 0.002
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
        position = paused_at = start
        generation = self._spool.progress().generation
        while stop is None or position < stop:
            progress = self._spool.progress()
            has_left = progress.generation != generation and position > start
            if has_left or self._is_other_size(progress):
                raise self._started_over()
            generation = progress.generation
            if stop is None and progress.state in _COMPLETE:
                stop = progress.written
            limit = servable(progress) if stop is None else min(stop, servable(progress))
            if start < position < limit and position != paused_at and _is_little(progress, limit - position):
                paused_at = position
                await asyncio.sleep(_PAUSE_SECONDS)
            elif position < limit:
                size = min(limit - position, _PART_BYTES)
                yield FilePart(self._spool.data, position, size)
                position += size
            elif progress.state is SpoolState.FAILED or not await self._more(progress):
                async for piece in self._past_the_fill(progress, position, stop):
                    yield piece
                return

    def _is_other_size(self, progress: Progress) -> bool:
        """Tell whether the fill has another size by now than the one our client was told."""
        return progress.size is not None and self._size is not None and progress.size != self._size

    def _started_over(self) -> UpstreamMisbehaved:
        return UpstreamMisbehaved(self._source.upstream, f"{self._spool.digest} turned out wrong and started over")

    async def _more(self, seen: Progress) -> bool:
        """Wait for more; False when no more can come from this fill because its leader is stuck."""
        spool = self._spool
        if await spool.wait_for_change(seen, seconds=LOOK_EVERY_SECONDS):
            return True
        self._fills.ensure_leader(self._source, spool, is_takeover=True)
        is_over = not spool.is_led_here and (spool.is_gone() or is_stuck(spool))
        return not is_over or spool.progress() != seen  # in this order: its leader says why before it is gone

    async def _past_the_fill(
        self, progress: Progress, position: int, stop: int | None
    ) -> AsyncGenerator[FilePart | bytes, None]:
        """Yield the rest without the leader; one that starts over meanwhile may have changed what was sent before."""
        if progress.state is SpoolState.FAILED:
            failure = decode_failure(self._spool.failure)
            if failure.kind != "disk":
                raise failure.error()
        size = self._size
        if size is None:
            size = await self._source.online().head_blob(self._source.repository, self._spool.digest)
        stop = size if stop is None else stop
        if self._spool.is_published():
            yield FilePart(self._spool.data, position, stop - position)
            return
        span = Span(start=position, stop=stop)
        prefix = self._spool.data if 0 < position <= progress.written else None
        passage = pass_through(self._source, self._spool.digest, span, size=size, prefix=prefix)
        async with aclosing(passage) as pieces:
            async for piece in pieces:
                if self._spool.progress().generation != progress.generation:
                    raise self._started_over()
                yield piece


def _is_little(progress: Progress, size: int) -> bool:
    """Tell whether more may soon be there to send at once."""
    return size < _WORTH_SENDING_BYTES and progress.state not in _COMPLETE


def is_stuck(spool: Spool) -> bool:
    """Tell whether somebody holds the lease and does not move."""
    return not spool.is_led_here and spool.heartbeat_age > STUCK_AFTER_SECONDS
