"""What is held, and for whom: public content for every repository, private content only through a link.

The file is what counts; rows say who may have it. Where a row is missing (a crash came between file and row, the
database is in trouble) the upstream is asked whether the repository has the blob, and the row is made.
"""

import asyncio
import logging

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


class Presence:
    """Finds blobs on disk for those who may read them."""

    def __init__(
        self, blobs: BlobStore, tables: Tables, recorder: Recorder, uses: Uses, *, all_is_public: bool
    ) -> None:
        self._blobs = blobs
        self._tables = tables
        self._recorder = recorder
        self._uses = uses
        self.all_is_public = all_is_public
        self._questions: SingleFlight[tuple[str, Digest, bool], bool] = SingleFlight()

    async def find(self, source: UpstreamRepository, digest: Digest, *, is_manifest: bool = False) -> OpenBlob | None:
        """Return the open blob if it is held and `source` may give it; the caller closes it.

        Raises UpstreamError where only the upstream could tell and could not be asked; without any credentials it
        could tell nothing that matters.
        """
        try:
            held = self._blobs.open(digest)
        except StoreError as error:
            logger.warning("cannot read blob", extra={"digest": str(digest), "why": str(error)})
            return None
        if held is None:
            return None
        self._uses.note(digest)
        try:
            if await self._may_give(source, digest) or await self._may_give_after_all(source, digest):
                return held
            confirming = self._questions.start_or_join(
                (source.name, digest, is_manifest),
                lambda: self._confirm(source, digest, held.size, is_manifest=is_manifest),
            )
            if await asyncio.shield(confirming):
                return held
        except BaseException:
            held.close()
            raise
        held.close()
        raise UpstreamNotFound(source.upstream)

    async def _may_give(self, source: UpstreamRepository, digest: Digest) -> bool:
        try:
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

    async def _confirm(self, source: UpstreamRepository, digest: Digest, size: int, *, is_manifest: bool) -> bool:
        """Ask the upstream whether the repository has what is on disk, and note that it does."""
        try:
            client = source.online()
            if is_manifest:
                await client.head_manifest(source.repository, digest)
            else:
                await client.head_blob(source.repository, digest)
        except UpstreamNotFound:
            return False
        except UpstreamError:
            if self.all_is_public:
                return True
            raise
        await self._recorder.record_blob(source, digest, size)
        return True
