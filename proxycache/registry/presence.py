"""What is held, and for whom: public content for every repository, private content only through a link.

Where there are rules, public content too: they are about repositories, and one that somebody may pull from must not
give what only others may have.

The file is what counts; rows say who may have it. Where a row is missing (a crash came between file and row, the
database is in trouble), or the blob is marked as leaving while it is still read, the upstream is asked whether the
repository has it, and the row is made, without a mark: what is pulled again stays.
"""

import asyncio
import logging
from enum import Enum

from proxycache.oci.digest import Digest
from proxycache.registry.note_use import Uses
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.blobs import BlobStore, OpenBlob
from proxycache.store.errors import StoreError
from proxycache.store.tables import Tables
from proxycache.tasks import SingleFlight
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound

logger = logging.getLogger(__name__)


class Shared(Enum):
    """What a repository gives without a link of its own: all that is held, what is public of it, or nothing."""

    ALL = "all"
    PUBLIC = "public"
    NOTHING = "nothing"


class Presence:
    """Finds blobs on disk for those who may read them."""

    def __init__(self, blobs: BlobStore, tables: Tables, recorder: Recorder, uses: Uses, *, shared: Shared) -> None:
        self._blobs = blobs
        self._tables = tables
        self._recorder = recorder
        self._uses = uses
        self._shared = shared
        self.all_is_public = shared is Shared.ALL
        self._questions: SingleFlight[tuple[str, Digest, bool], None] = SingleFlight()

    async def find(self, source: UpstreamRepository, digest: Digest, *, is_manifest: bool = False) -> OpenBlob | None:
        """Return the open blob if it is held and `source` may give it; the caller closes it.

        Raises UpstreamError where only the upstream could tell, and says no or could not be asked; without any
        credentials it could tell nothing that matters.
        """
        held = self._open(digest)
        if held is None:
            return None
        try:
            if not await self._is_known_to_give(source, digest):
                confirming = self._questions.start_or_join(
                    (source.name, digest, is_manifest),
                    lambda: self._confirm(source, digest, held.size, is_manifest=is_manifest),
                )
                await asyncio.shield(confirming)
        except BaseException:
            held.close()
            raise
        return held

    async def find_known(self, source: UpstreamRepository, digest: Digest) -> OpenBlob | None:
        """Return the open blob if it is held and `source` is known to give it; nobody is asked."""
        if not self._blobs.has(digest) or not await self._is_known_to_give(source, digest):
            return None
        return self._open(digest)

    def _open(self, digest: Digest) -> OpenBlob | None:
        try:
            held = self._blobs.open(digest)
        except StoreError as error:
            logger.warning("cannot read blob", extra={"digest": str(digest), "why": str(error)})
            return None
        if held is not None:
            self._uses.note(digest)
        return held

    async def _is_known_to_give(self, source: UpstreamRepository, digest: Digest) -> bool:
        return await self._may_give(source, digest) or await self._may_give_after_all(source, digest)

    async def _may_give(self, source: UpstreamRepository, digest: Digest) -> bool:
        try:
            if self._shared is not Shared.NOTHING:
                row = await self._tables.links.find(digest)
                if row is not None and row.is_public:
                    return True
            return await self._tables.links.has(source.name, digest)
        except StoreError as error:
            logger.warning("database in trouble", extra={"why": str(error)})
            return self.all_is_public

    async def _may_give_after_all(self, source: UpstreamRepository, digest: Digest) -> bool:
        """Look again, once nobody is about to record what it has just published."""
        async with self._recorder.publishing(digest):
            return await self._may_give(source, digest)

    async def _confirm(self, source: UpstreamRepository, digest: Digest, size: int, *, is_manifest: bool) -> None:
        """Ask the upstream whether the repository has what is on disk, and note its answer, as of what is not here."""
        try:
            client = source.online()
            if is_manifest:
                head = await client.head_manifest(source.repository, digest)
                await self._recorder.record_media_type(digest, head.media_type)
            else:
                await client.head_blob(source.repository, digest)
        except UpstreamNotFound as answer:
            await self._recorder.record_absence(source, "manifest" if is_manifest else "blob", str(digest), answer)
            raise
        except UpstreamError:
            if not self.all_is_public:
                raise
        else:
            await self._recorder.record_blob(source, digest, size)
