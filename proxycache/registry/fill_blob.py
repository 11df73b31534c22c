"""Fill: the one download that turns a miss into a stored blob, for all who ask, in all processes.

A fill belongs to the cache, not to a request (invariant 3): it is led by a detached task, and readers only watch its
spool. The leader resumes what breaks, verifies, and publishes; a wrong body is given up before its tail went to
anybody, and not blamed on the upstream while any of its bytes came from elsewhere.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

import msgspec

from proxycache.clock import Clock
from proxycache.events import Events, FillEnded
from proxycache.policy.retry import resume_delay
from proxycache.registry.make_room import RoomMaker
from proxycache.registry.note_unkept import Unkept
from proxycache.registry.outcomes import Failure, decode_failure, encode_outcome, failure_of
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreError, StoreFull
from proxycache.store.pump import Pumps
from proxycache.store.spool import Spool, Spools
from proxycache.store.spool_writer import SpoolWriter
from proxycache.tasks import Tasks, run_to_end
from proxycache.upstream.client import UpstreamBlob
from proxycache.upstream.errors import UpstreamError, UpstreamMisbehaved, UpstreamUnreachable

logger = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 0.5
_LARGE_BYTES = 1024 * 1024
_STEP_BYTES = 16 * 1024 * 1024  # what is reserved at a time where the size is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class FillServices:
    """What every fill needs."""

    spools: Spools
    blobs: BlobStore
    pumps: Pumps
    recorder: Recorder
    room: RoomMaker
    unkept: Unkept
    events: Events
    clock: Clock
    tasks: Tasks


class Fills:
    """Starts fills where nobody leads one."""

    def __init__(self, services: FillServices) -> None:
        self._services = services

    def ensure_leader(self, source: UpstreamRepository, spool: Spool, *, is_takeover: bool = False) -> bool:
        """Lead the fill from here, with the bytes that are there, unless somebody does or it is done.

        Returns whether the fill was started by this call. `is_takeover`: readers are in the middle of it, for whom an
        upstream that does not answer is asked again.
        """
        writer = spool.try_lead(source.name)
        if writer is None:
            return False
        services = self._services
        try:
            is_done = services.blobs.has(spool.digest)
        except StoreError:
            is_done = False  # the fill will meet the same trouble, and knows what to do
        if is_done:
            if spool.is_published():
                writer.mark_published()
            else:
                writer.discard()
            spool.end_lead(writer)
            return False
        using = contextlib.ExitStack()
        using.enter_context(services.spools.use(spool.digest))
        fill = _Fill(services, source, spool, writer)
        fill.has_begun = is_takeover
        services.tasks.detach(f"fill {spool.digest}", fill.run(using))
        return True


class _Fill:
    """One leader's attempt."""

    def __init__(self, services: FillServices, source: UpstreamRepository, spool: Spool, writer: SpoolWriter) -> None:
        self._services = services
        self._source = source
        self._spool = spool
        self._writer = writer
        self._wrong = _wrong_sources(services.spools, spool)
        self._broken: set[str] = set()
        self._used: set[str] = set()
        self.has_begun = False
        self._left_sizes: set[int | None] = set()
        self._had_second_try = False
        self._inherited = writer.inherited
        self._fetched = 0
        self._reserved = 0

    async def run(self, using: contextlib.ExitStack) -> None:
        """Lead until the blob is published or cannot be had, and tell all readers which of the two."""
        services = self._services
        started = services.clock.monotonic()
        heart = services.tasks.spawn(f"heartbeat {self._spool.digest}", self._beat())
        outcome = "interrupted"
        with using:
            try:
                outcome = await self._fill()
            except Exception:
                self._give_up(Failure("misbehaved", self._source.upstream, "the fill failed unexpectedly"))
                raise
            finally:
                heart.cancel()
                services.events.emit(
                    FillEnded(
                        upstream=self._source.upstream,
                        repository=self._source.name,
                        digest=str(self._spool.digest),
                        outcome=outcome,
                        fetched_bytes=self._fetched,
                        inherited_bytes=self._inherited,
                        seconds=services.clock.monotonic() - started,
                    )
                )
                try:
                    if outcome != "published":  # else room is kept until the row is there
                        await services.room.release(self._spool.digest)
                finally:
                    self._spool.end_lead(self._writer)

    async def _fill(self) -> str:
        try:
            if self._writer.inherited:
                await run_to_end(self._writer.rehash, self._services.clock.monotonic)
                self._inherited = self._writer.written
            await self._fetch_verified()
        except UpstreamError as error:
            return self._give_up(failure_of(error))
        except (OSError, StoreFull) as error:
            return self._give_up_on_disk(error)
        self._spool.notify()
        with self._services.tasks.finishing():
            return await self._keep()

    async def _beat(self) -> None:
        while True:
            self._writer.beat(self._services.clock.monotonic())
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def _fetch_verified(self) -> None:
        """Fetch until what is there agrees with the digest; raises UpstreamMisbehaved when no source gives that."""
        if self._writer.inherited and self._writer.verify():
            return  # all of it was there, though nobody may have known the size
        while True:
            await self._fetch_all()
            if self._writer.verify():
                return
            is_mixed = self._writer.inherited > 0 or len(self._used) > 1
            if is_mixed and not self._had_second_try:
                self._had_second_try = True
                await self._start_over()
                continue
            self._blame()
            await self._start_over()
            if self._all_sources() <= self._wrong:
                raise UpstreamMisbehaved(self._source.upstream, f"sent wrong content for {self._spool.digest}")

    def _blame(self) -> None:
        self._wrong |= self._used
        self._services.spools.distrust(self._spool.digest)
        logger.warning(
            "wrong content",
            extra={
                "upstream": self._source.upstream,
                "repository": self._source.name,
                "digest": str(self._spool.digest),
                "source": ", ".join(sorted(self._used)),
            },
        )

    async def _start_over(self) -> None:
        await run_to_end(self._writer.start_over)
        self._spool.notify()
        self._used.clear()

    async def _fetch_all(self) -> None:
        """Fetch what is missing, resuming for as long as that makes progress."""
        fruitless = 0
        while self._writer.size is None or self._writer.written < self._writer.size:
            before = self._writer.written
            try:
                has_ended = await self._fetch_once()
            except UpstreamUnreachable as error:
                fruitless = 0 if self._writer.written > before else fruitless + 1
                delay = resume_delay(fruitless) if self.has_begun else None
                if delay is None:
                    raise
                logger.info(
                    "resuming", extra={"digest": str(self._spool.digest), "at": self._writer.written, "why": str(error)}
                )
                await asyncio.sleep(delay)
            else:
                if not has_ended:
                    continue
                if self._writer.size is None:
                    return
                if self._writer.written == before < self._writer.size:
                    raise UpstreamMisbehaved(self._source.upstream, f"has other bytes than it announced at {before}")

    async def _fetch_once(self) -> bool:
        """Fetch from where we are, from one source, to the end of its answer; False: all has to start over."""
        writer = self._writer
        client = self._source.online()
        avoid = self._avoid()
        opening = client.open_blob(self._source.repository, self._spool.digest, start=writer.written, avoid=avoid)
        async with opening as blob:
            if blob.start > writer.written or await self._is_other_size(blob):
                await self._leave_size(blob)
                return False
            self.has_begun = True
            self._used.add(blob.source)
            self._broken.add(blob.source)  # until it has given all
            await self._pump(blob)
            self._broken.discard(blob.source)
            return True

    async def _leave_size(self, blob: UpstreamBlob) -> None:
        """Start over with another size than before; two sources that disagree must not do that in turns for ever."""
        if blob.total in self._left_sizes:
            raise UpstreamMisbehaved(self._source.upstream, f"sources disagree on the size of {self._spool.digest}")
        self._left_sizes.add(self._writer.size)
        await self._start_over()

    async def _is_other_size(self, blob: UpstreamBlob) -> bool:
        """Begin with the size that the upstream announces; tell whether bytes are there that belong to another one."""
        writer = self._writer
        size = blob.total
        if size is None:
            size = writer.size or await self._services.recorder.find_size(self._source.name, self._spool.digest)
        if writer.written and writer.size is not None and size != writer.size:
            return True
        self._reserved = _STEP_BYTES if size is None else size
        await self._services.room.reserve(self._spool.digest, self._reserved)
        await run_to_end(writer.begin, size)
        self._spool.notify()
        return False

    async def _pump(self, blob: UpstreamBlob) -> None:
        writer = self._writer
        skip = writer.written - blob.start  # an upstream that ignored the Range sends what we have once more
        limit = writer.size
        received, came = writer.written, 0
        is_large = limit is None or limit - writer.written > _LARGE_BYTES
        async with self._services.pumps.open(writer.append, self._spool.notify, is_large=is_large) as pump:
            async for piece in blob.pieces():
                self._fetched += len(piece)
                fresh = piece[skip:] if skip else piece
                skip = max(0, skip - len(piece))
                received += len(fresh)
                if limit is not None and received > limit:
                    raise UpstreamMisbehaved(self._source.upstream, f"sent more than the {limit} bytes announced")
                if received > self._reserved:
                    self._reserved = received + _STEP_BYTES
                    await self._services.room.reserve(self._spool.digest, self._reserved)
                await self._source.keep_pace(len(piece), received=came, is_wanted=self._spool.is_wanted)
                came += len(piece)
                if fresh:
                    await pump.write(fresh)
            await pump.drain()

    def _all_sources(self) -> frozenset[str]:
        return self._source.client.sources

    def _avoid(self) -> frozenset[str]:
        """Return the sources to pass over: those that were wrong or broke off, as long as that leaves one."""
        for avoid in (self._wrong | self._broken, self._wrong):
            if not self._all_sources() <= avoid:
                return frozenset(avoid)
        self._broken.clear()
        return frozenset()

    async def _keep(self) -> str:
        """Publish what readers may already have to the end: files before rows (invariant 2)."""
        recorder, digest = self._services.recorder, self._spool.digest
        async with recorder.publishing(digest), contextlib.AsyncExitStack() as keeping:
            try:
                await keeping.enter_async_context(self._services.blobs.kept(digest))
                await self._writer.publish(self._services.blobs)
            except (OSError, StoreError) as error:
                self._note_unkept(error)
                self._writer.discard()
                return "passed_through"
            self._spool.notify()
            await recorder.record_blob(self._source, digest, self._writer.written)
            return "published"

    def _give_up(self, failure: Failure) -> str:
        failure = msgspec.structs.replace(failure, wrong_sources=tuple(sorted(self._wrong)))
        self._writer.fail(encode_outcome(failure))
        if not self._writer.written and not self._wrong:
            self._writer.discard()
        return "wrong_content" if self._wrong else "failed"

    def _give_up_on_disk(self, error: OSError | StoreFull) -> str:
        """Let every reader fetch the rest itself: a full or broken disk is no reason to fail a pull."""
        self._note_unkept(error)
        reason = f"the disk refuses the blob: {getattr(error, 'strerror', None) or error}"
        self._writer.fail(encode_outcome(Failure("disk", self._source.upstream, reason)))
        self._writer.discard()
        return "passed_through"

    def _note_unkept(self, error: Exception) -> None:
        self._services.unkept.note(self._source.name, self._spool.digest, error)


def _wrong_sources(spools: Spools, spool: Spool) -> set[str]:
    """Return the sources that sent wrong content a moment ago, in whatever process, so that others go first."""
    if not spools.is_distrusted(spool.digest) or not spool.failure:
        return set()
    return set(decode_failure(spool.failure).wrong_sources)
