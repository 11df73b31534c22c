"""Read small content that is held here: manifests and configs."""

from proxycache.oci.digest import Digest
from proxycache.store.blobs import BlobStore
from proxycache.tasks import run_to_end


async def read_held(blobs: BlobStore, digest: Digest, *, most_bytes: int) -> bytes | None:
    """Return the bytes, or None if they are not here or more than `most_bytes`; raises StoreError."""
    held = blobs.open(digest)
    if held is None:
        return None
    with held:
        if held.size > most_bytes:
            return None
        return await run_to_end(held.file.read, held.size)
