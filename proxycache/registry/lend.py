"""Lend: give back what is owned and a public origin has, so that its bytes here are a copy that may be evicted.

Layers only: manifests and configs are small, and without them nobody knows what is borrowed. What a pinned tag is made
of stays owned, whichever tag it is lent by: it would be adopted again.
"""

from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.oci.errors import ManifestInvalid
from proxycache.oci.manifest import parse_manifest
from proxycache.registry.borrow import Borrower
from proxycache.registry.read_held import read_held
from proxycache.store.blobs import BlobStore
from proxycache.store.loans import Loans
from proxycache.store.origins import Origin

_MOST_MANIFEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as its manifest names it. `is_pinned`: a pinned tag of the repository is made of it."""

    digest: Digest
    size: int
    is_pinned: bool


class Lender:
    """Lends layers."""

    def __init__(self, loans: Loans, blobs: BlobStore, borrower: Borrower, clock: Clock) -> None:
        self._loans = loans
        self._blobs = blobs
        self._borrower = borrower
        self._clock = clock

    async def list_layers(self, repository: str, tag: str) -> list[Layer]:
        """Return the layers of a tag, or (none) of all that the repository has; raises StoreError."""
        layers: dict[Digest, Layer] = {}
        pinned = await self._loans.find_pinned(repository)
        for manifest, media_type in await self._loans.list_manifests(repository, tag):
            body = await read_held(self._blobs, manifest, most_bytes=_MOST_MANIFEST_BYTES)
            try:
                found = parse_manifest(body or b"", media_type).layers
            except ManifestInvalid:
                continue  # its bytes are missing, or it was accepted under another type
            for item in found:
                layers[item.digest] = Layer(digest=item.digest, size=item.size, is_pinned=item.digest in pinned)
        return list(layers.values())

    async def lend(self, repository: str, layer: Layer) -> Origin | None:
        """Borrow a layer that is owned from an origin that has it, as it says now; None if nobody does.

        None, too, if it is pinned.
        """
        if layer.is_pinned:
            return None
        origin = await self._borrower.find_now(layer.digest, layer.size)
        if origin is None or not await self._loans.lend(repository, origin, now=self._clock.now()):
            return None
        return origin
