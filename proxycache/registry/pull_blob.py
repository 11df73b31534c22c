"""Pull a blob: from disk, from a fill that is under way, or past the disk where that is in trouble.

What comes back is a `BlobStream`: the facts for the headers at once, the bytes as parts of files or, where no file
has them, as bytes. A stream that raises in mid-body must be cut by who sends it, never completed (invariant 4).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from proxycache.events import FillEnded, FollowerJoined
from proxycache.oci.byte_range import ByteRange, Span
from proxycache.oci.digest import Digest
from proxycache.registry.fill_blob import Fills, FillServices
from proxycache.registry.outcomes import decode_failure
from proxycache.registry.pass_through import fetch_resuming, pass_through
from proxycache.registry.presence import Presence
from proxycache.registry.spool_reader import LOOK_EVERY_SECONDS, FilePart, SpoolReader, is_stuck
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.blobs import OpenBlob
from proxycache.store.errors import StoreError, StoreFull
from proxycache.store.spool import HELD_BACK_BYTES, Spool, servable
from proxycache.store.spool_record import Progress, SpoolState
from proxycache.tasks import SingleFlight
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamNotFound, UpstreamUnreachable

FAR_AHEAD_BYTES = 64 * 1024 * 1024
_LOOKS = 5
_COMPLETE = (SpoolState.VERIFIED, SpoolState.PUBLISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStream:
    """A blob on its way to one client. `size` is None where the upstream does not say; then `span` is too.

    Whoever got it must `close` it. `cache`: hit, miss (this request started the fill), joined, or passed.
    """

    digest: Digest
    size: int | None
    span: Span | None
    is_partial: bool
    cache: Literal["hit", "miss", "joined", "passed"]
    parts: AsyncGenerator[FilePart | bytes, None]
    resources: contextlib.ExitStack

    async def close(self) -> None:
        """Let go of files and spools; the fill, if there is one, goes on."""
        with self.resources:
            await self.parts.aclose()


class BlobPuller:
    """Gives blobs, and their sizes."""

    def __init__(self, presence: Presence, fills: Fills, services: FillServices) -> None:
        self._presence = presence
        self._fills = fills
        self._services = services
        self._sizes: SingleFlight[tuple[str, Digest], int] = SingleFlight()

    async def open(self, source: UpstreamRepository, digest: Digest, wanted: ByteRange | None) -> BlobStream:
        """Open `wanted` (None: all) of a blob; returns as soon as its size is known.

        Raises RangeUnsatisfiable, or UpstreamError where it is not held and cannot be had.
        """
        if wanted is not None and wanted.first != 0 and self._services.spools.is_distrusted(digest):
            reason = f"sent wrong content for {digest} a moment ago; ask for all of it again"
            raise UpstreamMisbehaved(source.upstream, reason)
        for _ in range(_LOOKS):
            held = await self._presence.find(source, digest)
            if held is not None:
                return stream_of_file(held, digest, wanted)
            size = await self._services.recorder.find_size(source.name, digest)
            if size is not None and not self._services.room.fits(size):
                self._note_unkept(source, digest, StoreFull(digest, size))
                return await self._open_past_disk(source, digest, wanted)
            stream = await self._open_fill(source, digest, wanted)
            if stream is not None:
                return stream
        return await self._open_past_disk(source, digest, wanted)  # it comes and goes: somebody is removing it

    async def find_size(self, source: UpstreamRepository, digest: Digest) -> tuple[int, bool]:
        """Return a blob's size, and whether it is held; never fills. Raises UpstreamError."""
        held = await self._presence.find_known(source, digest)
        if held is None:
            size = await self._services.recorder.find_size(source.name, digest)
            if size is not None:
                return size, False
            held = await self._presence.find(source, digest)
        if held is not None:
            with held:
                return held.size, True
        flight = self._sizes.start_or_join((source.name, digest), lambda: self._ask_size(source, digest))
        return await asyncio.shield(flight), False

    async def _ask_size(self, source: UpstreamRepository, digest: Digest) -> int:
        await self._services.recorder.check_absence(source, "blob", str(digest))
        try:
            return await source.online().head_blob(source.repository, digest)
        except UpstreamNotFound as answer:
            await self._services.recorder.record_absence(source, "blob", str(digest), answer)
            raise

    async def _open_fill(
        self, source: UpstreamRepository, digest: Digest, wanted: ByteRange | None
    ) -> BlobStream | None:
        """Open the stream of a fill, ours or somebody's; None when it ended meanwhile: look on disk again."""
        await self._services.recorder.check_absence(source, "blob", str(digest))
        with contextlib.ExitStack() as resources:
            try:
                spool = resources.enter_context(self._services.spools.use(digest))
            except (OSError, StoreError) as error:
                self._note_unkept(source, digest, error)
                return await self._open_past_disk(source, digest, wanted)
            await self._check_may_read(source, spool)
            before = spool.progress()
            source.online()
            is_leader = self._fills.ensure_leader(source, spool)
            if not is_leader and spool.is_gone():
                return None
            answer = await self._wait_for_headers(source, spool, before)
            if answer == "gone":
                return None
            await self._check_may_read(source, spool)  # only now is it sure for whom its leader fetches
            if answer == "past":
                return await self._open_past_disk(source, digest, wanted)
            if not is_leader:
                self._services.events.emit(FollowerJoined(upstream=source.upstream))
            size = answer.size
            span = None if size is None else _span(wanted, size)
            return BlobStream(
                digest=digest,
                size=size,
                span=span,
                is_partial=span is not None and wanted is not None,
                cache="miss" if is_leader else "joined",
                parts=self._parts(source, spool, size, span, wanted),
                resources=resources.pop_all(),
            )
        raise AssertionError  # the stack swallows nothing

    async def _wait_for_headers(
        self, source: UpstreamRepository, spool: Spool, before: Progress
    ) -> Progress | Literal["gone", "past"]:
        """Wait until the size is known, or the fill failed: then raises why."""
        seconds = source.client.settings.answer_within
        end: Literal["gone", "past"] | None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    seen = spool.progress()
                    # Of an empty body the headers are all there is: they wait for the digest (invariant 4).
                    if seen.state in _COMPLETE or (seen.state is SpoolState.FILLING and seen.size != 0):
                        return seen
                    if seen.state is SpoolState.FAILED and seen != before:  # else it failed before we asked
                        return await self._failed(source, spool)
                    if await spool.wait_for_change(seen, seconds=LOOK_EVERY_SECONDS):
                        continue
                    self._fills.ensure_leader(source, spool)
                    end = "gone" if spool.is_gone() else "past" if is_stuck(spool) else None
                    if end is not None and spool.progress() == seen:  # else its leader has said something by now
                        return end
        except TimeoutError:
            seen = spool.progress()
            if seen.state is SpoolState.EMPTY and seen.size is not None:
                return seen  # its leader hashes again what is there, which is much
            raise UpstreamUnreachable(source.upstream, f"no answer within {seconds:g} s", timed_out=True) from None

    async def _check_may_read(self, source: UpstreamRepository, spool: Spool) -> None:
        """What is or was fetched for another repository may be private to it: ask whether this one has it."""
        if self._presence.all_is_public or not spool.progress().attempt:
            return
        if not spool.is_fetched_for(source.name):
            flight = self._sizes.start_or_join(
                (source.name, spool.digest), lambda: self._ask_size(source, spool.digest)
            )
            await asyncio.shield(flight)

    async def _failed(self, source: UpstreamRepository, spool: Spool) -> Literal["gone", "past"]:
        failure = decode_failure(spool.failure)
        if failure.kind == "disk":
            return "past"
        if not spool.is_fetched_for(source.name):
            return "gone"  # another repository could not have it; this one may
        error = failure.error()
        if isinstance(error, UpstreamNotFound):
            await self._services.recorder.record_absence(source, "blob", str(spool.digest), error)
        raise error

    def _note_unkept(self, source: UpstreamRepository, digest: Digest, error: Exception) -> None:
        self._services.unkept.note(source.name, digest, error)
        self._services.events.emit(
            FillEnded(
                upstream=source.upstream,
                repository=source.name,
                digest=str(digest),
                outcome="passed_through",
                fetched_bytes=0,
                inherited_bytes=0,
                seconds=0.0,
            )
        )

    async def _open_past_disk(self, source: UpstreamRepository, digest: Digest, wanted: ByteRange | None) -> BlobStream:
        size = await source.online().head_blob(source.repository, digest)
        span = _span(wanted, size)
        return BlobStream(
            digest=digest,
            size=size,
            span=span,
            is_partial=wanted is not None,
            cache="passed",
            parts=_as_parts(pass_through(source, digest, span, size=size, prefix=None)),
            resources=contextlib.ExitStack(),
        )

    async def _parts(
        self, source: UpstreamRepository, spool: Spool, size: int | None, span: Span | None, wanted: ByteRange | None
    ) -> AsyncGenerator[FilePart | bytes, None]:
        reader = SpoolReader(self._fills, source, spool, size)
        start, stop = (0, None) if span is None else (span.start, span.stop)
        if span is not None and size is not None and span.start > servable(spool.progress()) + FAR_AHEAD_BYTES:
            is_open_ended = wanted is not None and wanted.first is not None and wanted.last is None
            far_stop = max(span.start, size - HELD_BACK_BYTES) if is_open_ended else span.stop
            async with aclosing(fetch_resuming(source, spool.digest, Span(start=start, stop=far_stop))) as pieces:
                async for piece in pieces:
                    yield piece
            start = far_stop
        async with aclosing(reader.parts(start, stop)) as parts:
            async for part in parts:
                yield part


def _span(wanted: ByteRange | None, size: int) -> Span:
    return Span(start=0, stop=size) if wanted is None else wanted.resolve(size)


def stream_of_file(held: OpenBlob, digest: Digest, wanted: ByteRange | None) -> BlobStream:
    """Return the stream of a held blob, which owns it from now on; raises RangeUnsatisfiable."""
    with contextlib.ExitStack() as resources:
        resources.enter_context(held)
        span = _span(wanted, held.size)
        return BlobStream(
            digest=digest,
            size=held.size,
            span=span,
            is_partial=wanted is not None,
            cache="hit",
            parts=_one_part(FilePart(held.file, span.start, span.size)),
            resources=resources.pop_all(),
        )
    raise AssertionError  # the stack swallows nothing


async def _one_part(part: FilePart) -> AsyncGenerator[FilePart | bytes, None]:
    yield part


async def _as_parts(pieces: AsyncIterator[bytes]) -> AsyncGenerator[FilePart | bytes, None]:
    async for piece in pieces:
        yield piece
