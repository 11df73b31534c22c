"""Find files of blobs that have no row, so that they count, and can be evicted.

A power cut takes the last rows back, and a database that was moved away takes all of them. A stray is given to nobody
until an upstream confirms that it may be. (Rows without files need no search: they go when their turn to leave comes.)
"""

import logging

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreError
from proxycache.store.leases import Leases
from proxycache.store.usage import Usage
from proxycache.tasks import run_to_end

logger = logging.getLogger(__name__)

_BATCH = 500


async def find_strays(blobs: BlobStore, usage: Usage, leases: Leases, clock: Clock) -> None:
    """Look through all files once; of several workers that start together one does."""
    async with leases.claim("find strays") as claim:
        if claim.inherited is not None:
            return
        try:
            count = await _look_through(blobs, usage, clock)
        except StoreError as error:
            logger.warning("cannot look for strays", extra={"why": str(error)})
            return
        claim.settle(b"done")
    if count:
        logger.warning("blobs without a row", extra={"count": count})


async def _look_through(blobs: BlobStore, usage: Usage, clock: Clock) -> int:
    count = 0
    batch: list[Digest] = []
    async for digest in blobs.iterate():
        batch.append(digest)
        if len(batch) == _BATCH:
            count += await _adopt(batch, blobs, usage, clock)
            batch.clear()
    return count + await _adopt(batch, blobs, usage, clock)


async def _adopt(batch: list[Digest], blobs: BlobStore, usage: Usage, clock: Clock) -> int:
    sizes = await run_to_end(_sizes, blobs, batch)
    return await usage.add_strays(sizes, now=clock.now()) if sizes else 0


def _sizes(blobs: BlobStore, digests: list[Digest]) -> dict[Digest, int]:
    sizes = ((digest, blobs.size(digest)) for digest in digests)
    return {digest: size for digest, size in sizes if size is not None}
