"""Remove what was pushed and nothing needs any more: online, hourly, one process at a time (DESIGN, "Collect")."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.maintenance.schedule import run_hourly_in_turn
from proxycache.store.blobs import BlobStore
from proxycache.store.database import batches
from proxycache.store.garbage import Foreseen, Garbage, Moment
from proxycache.store.leases import Leases
from proxycache.store.removal import Removed, remove_files
from proxycache.store.usage import Candidate, Usage

logger = logging.getLogger(__name__)

LEASE = "collect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What went: links, and blobs of `size` bytes together. `stayed`: blobs that somebody reads go the next time."""

    links: int
    blobs: int
    size: int
    stayed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Collects; `list_uploading` (blocking) names the repositories with an upload under way."""

    garbage: Garbage
    usage: Usage
    blobs: BlobStore
    list_uploading: Callable[[], Collection[str]]
    clock: Clock

    async def foresee(self) -> Foreseen:
        """Return what would go now; raises StoreError."""
        return await self.garbage.foresee(await self._moment())

    async def collect(self) -> Collected:
        """Remove what nothing needs; raises StoreError.

        A push that relies on it meanwhile comes before, or finds it gone and is told so.
        """
        links = await self.garbage.remove_unneeded(await self._moment())
        await self.garbage.let_go(await self.garbage.list_orphans())
        removed = [await self._remove(some) for some in batches(await self.usage.list_leaving())]
        return Collected(
            links=links,
            blobs=sum(len(each.gone) for each in removed),
            size=sum(each.size for each in removed),
            stayed=sum(len(each.stayed) for each in removed),
        )

    async def _remove(self, marked: Sequence[Candidate]) -> Removed:
        """Remove what is still needed by nothing: a tag may have come that nobody has read yet."""
        removed = await remove_files(self.blobs, self.usage, await self.usage.choose_unneeded(marked))
        await self.usage.forget(removed.gone, self.blobs.has)
        return removed

    async def _moment(self) -> Moment:
        return Moment(now=self.clock.now(), uploading=await asyncio.to_thread(self.list_uploading))


async def collect_garbage(collector: Collector, leases: Leases) -> None:
    """Collect now and hourly, for ever; of several workers that wake together one does."""

    async def collect() -> None:
        collected = await collector.collect()
        if collected.blobs or collected.links:
            logger.info("collected", extra={"blobs": collected.blobs, "bytes": collected.size})

    await run_hourly_in_turn(LEASE, collect, leases)
