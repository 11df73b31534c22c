"""How fast an upstream's blobs come: at the rate of the hour, the beginning of each answer before the bulk of others.

Manifests and questions are not paced: they are small, and everything waits for them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.policy.bandwidth import Bandwidth
from proxycache.store.line import Line

URGENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The limit of one upstream and the line that it holds on."""

    bandwidth: Bandwidth
    line: Line
    clock: Clock

    async def take(self, size: int, *, received: int, is_wanted: Callable[[], bool]) -> None:
        """Wait until `size` more bytes of an answer may be had of which `received` came before."""
        rate = self.bandwidth.rate_at(self.clock.local_hour())
        if rate:
            await self.line.take(size, rate, is_urgent=received < URGENT_BYTES, is_wanted=is_wanted)
