"""Give what local repositories have: only through a link of theirs, and no upstream is asked for a local name.

What is borrowed comes from the disk if it is held, else from its origin, by that one's name (DESIGN, "Borrow").
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.byte_range import ByteRange
from proxycache.oci.digest import Digest
from proxycache.oci.errors import BlobUnknown, ManifestUnknown
from proxycache.registry.access import Caller, LocalRepository
from proxycache.registry.borrow import Borrower
from proxycache.registry.presence import Presence
from proxycache.registry.pull_blob import BlobPuller, BlobStream, stream_of_file
from proxycache.registry.pull_manifest import PulledManifest
from proxycache.store.blobs import BlobStore, OpenBlob
from proxycache.store.errors import StoreError
from proxycache.store.local_content import Loan, LocalManifest
from proxycache.store.tables import Tables
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound, UpstreamUnauthorized, UpstreamUnreachable

logger = logging.getLogger(__name__)

_RENEW_AFTER_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServices:
    """What pulling from a local repository needs. `all_is_public`: who may have a blob needs no row to tell."""

    blobs: BlobStore
    tables: Tables
    puller: BlobPuller
    presence: Presence
    borrower: Borrower
    note_use: Callable[[Digest], None]
    clock: Clock
    all_is_public: bool


class LocalPuller:
    """Gives owned manifests and blobs, and borrowed blobs."""

    def __init__(self, services: LocalServices) -> None:
        self._services = services
        self._content = services.tables.local_content

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
        """Open `wanted` (None: all) of a blob.

        Raises BlobUnknown, RangeUnsatisfiable, StoreError, or UpstreamError where it is borrowed and cannot be had.
        """
        held = await self._open_owned(repository, digest)
        if held is not None:
            return stream_of_file(held, digest, wanted)
        loan = await self._content.find_loan(repository.name, digest)
        if loan is None:
            raise BlobUnknown(repository.name, str(digest))
        held = await self._open_lent(digest, loan)
        if held is not None:
            return stream_of_file(held, digest, wanted)
        return await self._open_borrowed(repository, digest, loan, wanted)

    async def find_size(self, repository: LocalRepository, digest: Digest, pusher: Caller | None) -> int:
        """Return a blob's size; raises BlobUnknown or StoreError.

        A pusher who asks will not send it, so it is promised as if it had just been pushed; and what can be borrowed is
        there for a `pusher`, the caller if it may push to the repository.
        """
        held = await self._open_owned(repository, digest)
        if held is not None:
            with held:
                if not await self._promise(repository, digest):
                    raise BlobUnknown(repository.name, str(digest))
                return held.size
        size = await self._find_borrowed_size(repository, digest, pusher)
        if size is None:
            raise BlobUnknown(repository.name, str(digest))
        return size

    async def _find_borrowed_size(
        self, repository: LocalRepository, digest: Digest, pusher: Caller | None
    ) -> int | None:
        """Return None where it is not borrowed, or its origin has lost it, so that a pusher sends it."""
        loan = await self._content.find_loan(repository.name, digest)
        if loan is None and pusher is None:
            return None
        held = None if loan is None else await self._open_lent(digest, loan)
        if held is not None:
            with held:
                return held.size
        origin = await self._services.borrower.find(digest, pusher, is_loaned=loan is not None)
        return None if origin is None else origin.size

    async def _open_lent(self, digest: Digest, loan: Loan) -> OpenBlob | None:
        """Open what is held, if who may lend it gave it: what is here for others may be nobody else's business.

        Nobody is asked for it, so that it is had as well while its origin, and who else has it, are silent.
        """
        if not self._services.blobs.has(digest):
            return None
        if await self._services.tables.links.has(loan.origin, digest):
            self._services.note_use(digest)
            return self._services.blobs.open(digest)
        for source in (await self._services.borrower.list_sources(digest, loan.origin)).opened:
            held = await self._services.presence.find_known(source, digest)
            if held is not None:
                return held
        return None

    async def _open_borrowed(
        self, repository: LocalRepository, digest: Digest, loan: Loan, wanted: ByteRange | None
    ) -> BlobStream:
        """Fill it from its origin, or from whoever else has it, with all that a miss has."""
        absent: UpstreamError = UpstreamNotFound(loan.origin, "may no longer be borrowed from")
        failures: dict[str, UpstreamError] = {}  # of upstreams that are not asked again for another repository
        sources = await self._services.borrower.list_sources(digest, loan.origin)
        for source in sources.opened:
            if source.upstream in failures:
                continue
            try:
                async with asyncio.timeout(source.client.settings.answer_within):
                    return await self._services.puller.open(source, digest, wanted)
            except TimeoutError:
                error = UpstreamUnreachable(source.upstream, "gave no answer in time", timed_out=True)
                failures[source.upstream] = error
            except UpstreamNotFound as error:
                absent = error
            except UpstreamUnauthorized as error:
                if source.client.has_credentials:  # it is our password that was refused, and nobody else's
                    failures[source.upstream] = UpstreamUnreachable(source.upstream, f"refuses us: {error.reason}")
                else:
                    absent = error
            except UpstreamError as error:
                failures[source.upstream] = error
        failure = next(iter([*failures.values(), *sources.untold]), absent)
        facts = {"repository": repository.name, "digest": str(digest), "origin": loan.origin, "why": str(failure)}
        logger.error("borrowed blob cannot be had", extra=facts)
        raise failure

    async def _promise(self, repository: LocalRepository, digest: Digest) -> bool:
        """Return False if the blob was let go in the meantime."""
        now = self._services.clock.now()
        try:
            linked_at = await self._content.find_link(repository.name, digest)
            is_old = linked_at is not None and now - linked_at > _RENEW_AFTER_SECONDS
            if is_old and not await self._content.is_needed(repository.name, digest):
                return await self._content.renew_link(repository.name, digest, now=now)
        except StoreError as error:
            logger.warning("database in trouble", extra={"why": str(error)})
            return True
        return linked_at is not None

    async def _find_manifest(self, repository: LocalRepository, reference: str | Digest) -> LocalManifest:
        digest: Digest | None = None
        if isinstance(reference, Digest):
            digest = reference
        elif tag := await self._services.tables.tags.find(repository.name, reference):
            digest = tag.digest
        found = None if digest is None else await self._content.find_manifest(repository.name, digest)
        if found is None:
            raise ManifestUnknown(repository.name, str(reference))
        return found

    async def _open_owned(self, repository: LocalRepository, digest: Digest) -> OpenBlob | None:
        """Open what the repository owns; None if it does not own it, raises BlobUnknown where its bytes are missing.

        Raises StoreError where who owns it cannot be told, unless it is held and that makes no difference.
        """
        try:
            is_owned = await self._content.has_link(repository.name, digest)
        except StoreError as error:
            held = self._services.blobs.open(digest) if self._services.all_is_public else None
            if held is None:
                raise
            logger.warning("database in trouble", extra={"why": str(error)})
            return held
        if not is_owned:
            return None
        held = self._open(digest)
        if held is None:
            raise BlobUnknown(repository.name, str(digest))
        return held

    def _open(self, digest: Digest) -> OpenBlob | None:
        held = self._services.blobs.open(digest)
        if held is None:
            logger.error("owned blob is missing", extra={"digest": str(digest)})
        return held
