"""Remember in memory which blobs were used, and write it down now and then: no hit waits for a row."""

import itertools

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.policy.eviction import BlobUse, worth
from proxycache.store.usage import Usage

_MOST_AT_ONCE = 200  # rows of one transaction: others wait for it, a fill that has just ended among them


class Uses:
    """What was used since it was last written down. Several uses of a blob in between are one."""

    def __init__(self, usage: Usage, clock: Clock) -> None:
        self._usage = usage
        self._clock = clock
        self._used: set[Digest] = set()

    def note(self, digest: Digest) -> None:
        """`digest` was asked for, and was here."""
        self._used.add(digest)

    async def write(self) -> None:
        """Write down what was noted, some at a time; raises StoreError, and then keeps the rest for the next time."""
        used, self._used = self._used, set()
        try:
            while used:
                some = set(itertools.islice(used, _MOST_AT_ONCE))
                await self._usage.record_uses(some, _worth, now=self._clock.now())
                used -= some
        except BaseException:
            self._used |= used
            raise


def _worth(size: int, uses: int, is_manifest: bool) -> float:  # noqa: FBT001 - a callback
    return worth(BlobUse(size=size, uses=uses, is_manifest=is_manifest))
