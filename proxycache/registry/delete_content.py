"""Delete tags, manifests and blobs of local repositories (distribution-spec end-9, end-10).

A deletion takes the name away at once; the bytes go when nothing needs them any more (maintenance/collect). What a
manifest of the repository references stays: a pull of that one must not break.
"""

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.oci.errors import BlobUnknown, ManifestUnknown, Unsupported
from proxycache.registry.access import LocalRepository
from proxycache.store.local_content import LocalContent, Removal


class ContentRemover:
    """Deletes on request. Every method raises StoreError where the rows cannot be written."""

    def __init__(self, content: LocalContent, clock: Clock) -> None:
        self._content = content
        self._clock = clock

    async def remove_tag(self, repository: LocalRepository, tag: str) -> None:
        """Forget a tag, not its manifest; raises ManifestUnknown."""
        if await self._content.remove_tag(repository.name, tag) is Removal.UNKNOWN:
            raise ManifestUnknown(repository.name, tag)

    async def remove_manifest(self, repository: LocalRepository, digest: Digest) -> None:
        """Delete a manifest and its tags; raises ManifestUnknown, or Unsupported while an index names it."""
        removal = await self._content.remove_manifest(repository.name, digest, now=self._clock.now())
        if removal is Removal.UNKNOWN:
            raise ManifestUnknown(repository.name, str(digest))
        if removal is Removal.NEEDED:
            raise Unsupported(f"{repository.name}: an index here names {digest}: delete that first")

    async def remove_blob(self, repository: LocalRepository, digest: Digest) -> None:
        """Delete a blob from a repository; raises BlobUnknown, or Unsupported while a manifest names it."""
        removal = await self._content.remove_blob(repository.name, digest)
        if removal is Removal.UNKNOWN:
            raise BlobUnknown(repository.name, str(digest))
        if removal is Removal.NEEDED:
            raise Unsupported(f"{repository.name}: a manifest here names {digest}: delete that first")
