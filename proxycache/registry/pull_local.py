"""Give what local repositories have: only through a link of theirs, and nobody upstream is ever asked (invariant 7)."""

import logging

from proxycache.clock import Clock
from proxycache.oci.byte_range import ByteRange
from proxycache.oci.digest import Digest
from proxycache.oci.errors import BlobUnknown, ManifestUnknown
from proxycache.registry.access import LocalRepository
from proxycache.registry.pull_blob import BlobStream, stream_of_file
from proxycache.registry.pull_manifest import PulledManifest
from proxycache.store.blobs import BlobStore, OpenBlob
from proxycache.store.errors import StoreError
from proxycache.store.local_content import LocalManifest
from proxycache.store.tables import Tables

logger = logging.getLogger(__name__)

_RENEW_AFTER_SECONDS = 600.0


class LocalPuller:
    """Gives owned manifests and blobs. `all_is_public`: who may have a blob needs no row to tell."""

    def __init__(self, blobs: BlobStore, tables: Tables, clock: Clock, *, all_is_public: bool) -> None:
        self._blobs = blobs
        self._tables = tables
        self._clock = clock
        self._all_is_public = all_is_public

    async def pull_manifest(
        self, repository: LocalRepository, reference: str | Digest, *, with_body: bool
    ) -> PulledManifest:
        """Return the manifest that `reference`, a tag or a digest, names; raises ManifestUnknown or StoreError."""
        manifest = await self._find_manifest(repository, reference)
        body = None
        if with_body:
            held = self._open(manifest.digest)
            if held is None:
                raise ManifestUnknown(repository.name, str(reference), "its bytes are missing here: push it again")
            with held:
                body = held.file.read()
        return PulledManifest(
            digest=manifest.digest, media_type=manifest.media_type, size=manifest.size, body=body, cache="hit"
        )

    async def open_blob(self, repository: LocalRepository, digest: Digest, wanted: ByteRange | None) -> BlobStream:
        """Open `wanted` (None: all) of a blob; raises BlobUnknown or RangeUnsatisfiable."""
        return stream_of_file(await self._find_blob(repository, digest), digest, wanted)

    async def find_size(self, repository: LocalRepository, digest: Digest) -> int:
        """Return a blob's size; raises BlobUnknown.

        A pusher who asks will not send it, so it is promised as if it had just been pushed.
        """
        with await self._find_blob(repository, digest) as held:
            if not await self._promise(repository, digest):
                raise BlobUnknown(repository.name, str(digest))
            return held.size

    async def _promise(self, repository: LocalRepository, digest: Digest) -> bool:
        """Return False if the blob was let go in the meantime."""
        local, now = self._tables.local_content, self._clock.now()
        try:
            linked_at = await local.find_link(repository.name, digest)
            is_old = linked_at is not None and now - linked_at > _RENEW_AFTER_SECONDS
            if is_old and not await local.is_needed(repository.name, digest):
                return await local.renew_link(repository.name, digest, now=now)
        except StoreError as error:
            logger.warning("database in trouble", extra={"why": str(error)})
            return True
        return linked_at is not None

    async def _find_manifest(self, repository: LocalRepository, reference: str | Digest) -> LocalManifest:
        digest: Digest | None = None
        if isinstance(reference, Digest):
            digest = reference
        elif tag := await self._tables.tags.find(repository.name, reference):
            digest = tag.digest
        found = None if digest is None else await self._tables.local_content.find_manifest(repository.name, digest)
        if found is None:
            raise ManifestUnknown(repository.name, str(reference))
        return found

    async def _find_blob(self, repository: LocalRepository, digest: Digest) -> OpenBlob:
        if await self._may_give(repository, digest):
            held = self._open(digest)
            if held is not None:
                return held
        raise BlobUnknown(repository.name, str(digest))

    async def _may_give(self, repository: LocalRepository, digest: Digest) -> bool:
        try:
            return await self._tables.local_content.has_link(repository.name, digest)
        except StoreError as error:
            logger.warning("database in trouble", extra={"why": str(error)})
            return self._all_is_public

    def _open(self, digest: Digest) -> OpenBlob | None:
        held = self._blobs.open(digest)
        if held is None:
            logger.error("owned blob is missing", extra={"digest": str(digest)})
        return held
