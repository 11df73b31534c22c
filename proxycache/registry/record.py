"""Rows about what was pulled: written before the answer goes out, but never in its way (invariants 2, 11, 12).

A row that the database does not take within a moment is tried again behind the request's back. Until then other
workers do not know what this one does, and ask the upstream. What cannot be read counts as not known.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from proxycache.clock import Clock
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, parse_digest
from proxycache.policy.eviction import BlobUse, worth
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.errors import StoreError
from proxycache.store.leases import Claim, Leases
from proxycache.store.links import BlobRow
from proxycache.store.manifests import ManifestRow
from proxycache.store.space import Space
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow
from proxycache.tasks import Tasks
from proxycache.upstream.errors import UpstreamNotFound

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 0.5
_RETRY_SECONDS = (0.5, 2.0, 10.0, 30.0, 120.0)

T = TypeVar("T")


class Recorder:
    """Writes and reads the rows of pulled content, whatever state the database is in."""

    def __init__(self, tables: Tables, leases: Leases, space: Space, clock: Clock, tasks: Tasks) -> None:
        self._tables = tables
        self._leases = leases
        self._space = space
        self._clock = clock
        self._tasks = tasks

    def publishing(self, digest: Digest) -> AbstractAsyncContextManager[Claim]:
        """Hold this from before content is published until its row is recorded.

        Who finds the file and no row takes it too, and looks again, before a question goes to the upstream.
        """
        return self._leases.claim(f"publish {digest}")

    async def record_blob(self, source: UpstreamRepository, digest: Digest, size: int) -> None:
        """Note a published blob, and that `source`'s repository may serve it; room kept for it ends with that."""
        blob = self._blob_row(source, digest, BlobUse(size=size, uses=1, is_manifest=False))

        await self._soon(lambda: self._tables.links.record(blob, repository=source.name), room_of=digest)

    async def record_manifest(
        self, source: UpstreamRepository, row: ManifestRow, references: Sequence[Descriptor]
    ) -> None:
        """Note a published manifest, what it references, and that `source`'s repository may serve it: its room ends."""
        blob = self._blob_row(source, row.digest, BlobUse(size=row.size, uses=1, is_manifest=True))

        await self._soon(
            lambda: self._tables.manifests.record(row, references, blob, repository=source.name), room_of=row.digest
        )

    async def record_media_type(self, digest: Digest, media_type: str) -> None:
        """Note what an upstream calls a manifest that is here already, pushed by somebody perhaps."""
        await self._soon(lambda: self._tables.manifests.record_media_type(digest, media_type))

    def _blob_row(self, source: UpstreamRepository, digest: Digest, use: BlobUse) -> BlobRow:
        return BlobRow(
            digest=digest, size=use.size, is_public=source.is_public, stored_at=self._clock.now(), worth=worth(use)
        )

    async def record_tag(self, row: TagRow) -> None:
        """Note where a tag points."""

        async def write() -> None:
            await self._tables.tags.record(row)
            await self._tables.origins.record_tag(row.repository, row.digest)

        await self._soon(write)

    async def record_absence(
        self, source: UpstreamRepository, kind: str, reference: str, answer: UpstreamNotFound
    ) -> None:
        """Note that the upstream does not have it, and why; it counts for `negative_for`. A tag is forgotten.

        What is held of a tag or a manifest is scarce from then on. A blob that is held is never asked for. A repository
        that does not have a manifest or a blob is no origin of it any more.
        """
        now = self._clock.now()
        key, until = _key(source, kind, reference), now + source.freshness.negative_for

        async def write() -> None:
            if kind == "tag":
                await self._tables.tags.remove(source.name, reference, checked_at=now)
            else:
                await self._tables.origins.forget(parse_digest(reference), source.name)
            if kind == "manifest":
                await self._tables.manifests.note_gone(source.name, parse_digest(reference))
            if until > now:
                await self._tables.negatives.record(key, answer.reason, until=until, now=now)

        await self._soon(write)

    async def check_absence(self, source: UpstreamRepository, kind: str, reference: str) -> None:
        """Raise UpstreamNotFound if the upstream said so a moment ago."""
        found = self._tables.negatives.find(_key(source, kind, reference), self._clock.now())
        reason = await self.known(found)
        if reason is not None:
            raise UpstreamNotFound(source.upstream, reason)

    async def record_visibility(self, name: str, *, is_public: bool) -> None:
        """Note whether everybody may read a repository at its upstream."""
        now = self._clock.now()
        await self._soon(lambda: self._tables.repositories.record_visibility(name, is_public=is_public, checked_at=now))

    async def record_document(self, key: str, body: bytes, *, checked_at: float) -> None:
        """Keep an upstream's answer."""
        await self._soon(lambda: self._tables.documents.record(key, body, checked_at=checked_at))

    async def find_size(self, name: str, digest: Digest) -> int | None:
        """Return the size of a blob as a manifest of the repository says."""
        return await self.known(self._tables.manifests.find_size(name, digest))

    async def find_manifest(self, digest: Digest) -> ManifestRow | None:
        """Return what is known of a manifest."""
        return await self.known(self._tables.manifests.find(digest))

    async def find_tag(self, name: str, tag: str) -> TagRow | None:
        """Return where a tag was last seen to point."""
        return await self.known(self._tables.tags.find(name, tag))

    async def known(self, lookup: Awaitable[T | None]) -> T | None:
        """Return what `lookup` finds, or None where the database cannot be read."""
        try:
            return await lookup
        except StoreError as error:
            logger.warning("database in trouble", extra={"why": str(error)})
            return None

    async def _soon(self, write: Callable[[], Awaitable[None]], *, room_of: Digest | None = None) -> None:
        task = self._tasks.spawn("record", self._until_done(write, room_of))
        await asyncio.wait([task], timeout=_PATIENCE_SECONDS)

    async def _until_done(self, write: Callable[[], Awaitable[None]], room_of: Digest | None) -> None:
        """Write until it is done, which ends the room of `room_of`, or given up: then it is left behind."""
        for delay in (*_RETRY_SECONDS, None):
            try:
                with self._tasks.finishing():
                    await write()
                    if room_of is not None:
                        await self._space.release(room_of)
            except StoreError as error:
                if delay is None:
                    logger.error("row given up", extra={"why": str(error)})
                    if room_of is not None:
                        await self._space.leave(room_of)
                    return
                await asyncio.sleep(delay)
            else:
                return


def _key(source: UpstreamRepository, kind: str, reference: str) -> str:
    return f"{kind} {source.name} {reference}"
