"""What a cached blob is worth: who is worth least goes first when room is needed.

A blob's rank is the level at its last use plus its worth; the level rises to the rank of what was evicted last. So what
is not used ages without being touched, however fast or slowly the cache turns over (least frequently used with dynamic
aging; Arlitt et al., "Evaluating content management techniques for Web proxy caches", 1999). What can be had again goes
first, whatever its rank: what its upstream no longer has is scarce (store/scarcity).
"""

import math
from dataclasses import dataclass

MANIFEST_WORTH = 1e12
"""More than any level: a manifest goes after everything that is none."""
_REQUEST_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUse:
    """How large a blob is, in bytes, and how often it was used."""

    size: int
    uses: int
    is_manifest: bool


def worth(blob: BlobUse) -> float:
    """Return the worth of `blob`: what it saves upstream, by byte that it takes here.

    To ask for a blob costs as much as half a megabyte of it, so small ones stay longer. Uses count by their logarithm:
    a blob that was asked for a thousand times last year must not stay for ever.
    """
    value = math.log2(1 + blob.uses) * (1 + math.log2(1 + _REQUEST_BYTES / max(blob.size, 1)))
    return value + MANIFEST_WORTH if blob.is_manifest else value
