"""Adopt: make an owned copy of what a local repository borrows.

What is held becomes owned where it lies; else it is fetched first, as a pull would. Until that is done the loan stays,
so that nothing is lost by trying.
"""

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.registry.borrow import Borrower
from proxycache.registry.fetch_whole import WholeFetcher
from proxycache.store.blobs import BlobStore
from proxycache.store.loans import BorrowedBlob, Loans


class Adopter:
    """Adopts blobs."""

    def __init__(self, loans: Loans, blobs: BlobStore, fetcher: WholeFetcher, borrower: Borrower, clock: Clock) -> None:
        self._loans = loans
        self._blobs = blobs
        self._fetcher = fetcher
        self._borrower = borrower
        self._clock = clock

    async def adopt(self, blob: BorrowedBlob) -> str:
        """Let the repository own the blob, durably; return why that cannot be, or nothing. Raises StoreError."""
        if await self._own(blob.repository, blob.digest):
            return ""
        sources = await self._borrower.list_sources(blob.digest, blob.origin)
        if sources.untold and not sources.opened:
            return str(sources.untold[0])
        why = await self._fetcher.fetch(sources.opened, blob.digest)
        if why:
            return why
        return "" if await self._own(blob.repository, blob.digest) else "it was evicted before it could be owned"

    async def adopt_held(self, digest: Digest, origin: str) -> bool:
        """Let all who borrow the blob from `origin` own it, if it is held; raises StoreError."""
        repositories = await self._loans.list_borrowers(digest, origin)
        return all([await self._own(repository, digest) for repository in repositories])

    async def _own(self, repository: str, digest: Digest) -> bool:
        async with self._blobs.kept(digest):
            return self._blobs.has(digest) and await self._loans.adopt(repository, digest, now=self._clock.now())
