"""Let a local repository serve a blob that another repository here has, without sending it (distribution-spec end-11).

Only where the caller may read the source, so that naming a digest gives nobody its content. Whatever is in the way, the
answer is "no", and the client uploads.
"""

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.registry.access import Access, Caller, LocalRepository
from proxycache.registry.borrow import Borrower
from proxycache.store.blobs import BlobStore
from proxycache.store.tables import Tables


class BlobMounter:
    """Mounts blobs."""

    def __init__(self, blobs: BlobStore, tables: Tables, access: Access, borrower: Borrower, clock: Clock) -> None:
        self._blobs = blobs
        self._tables = tables
        self._access = access
        self._borrower = borrower
        self._clock = clock

    async def mount(self, repository: LocalRepository, digest: Digest, source: str | None, caller: Caller) -> bool:
        """Let `repository` serve `digest` if `source`, by canonical name (None: any repository), gives it to `caller`.

        What a public upstream has is borrowed. Raises StoreError.
        """
        local = self._tables.local_content
        is_owned = await local.has_link(repository.name, digest)
        if not is_owned and await self._borrow(repository, digest, source, caller):
            return True
        if not self._blobs.has(digest):
            return False
        if not is_owned and not await self.may_read(digest, source, caller):
            return False
        async with self._blobs.kept(digest):
            return self._blobs.has(digest) and await local.mount(repository.name, digest, now=self._clock.now())

    async def _borrow(self, repository: LocalRepository, digest: Digest, source: str | None, caller: Caller) -> bool:
        if source is None:
            origin = await self._borrower.find(digest, caller)
        else:
            origin = await self._borrower.find_in(digest, source, caller)
        if origin is not None:
            await self._tables.local_content.borrow(repository.name, origin, now=self._clock.now())
        return origin is not None

    async def may_read(self, digest: Digest, source: str | None, caller: Caller) -> bool:
        """Tell whether `caller` may have content that is here, through `source` or (None) any repository."""
        for name in await self._tables.local_content.find_holders(digest):
            if source in (None, name) and await self._access.may_pull(name, caller):
                return True
        return False
