"""Room for what is about to be written: reserved first, made by eviction where it lacks (DESIGN, "Evict").

One process at a time counts, evicts and reserves, under a lease; what it promised is then a file that all see. What
cannot be reserved is not kept: it passes through, which is never an error to a puller.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.events import BlobsEvicted, Events
from proxycache.oci.digest import Digest
from proxycache.policy.eviction import MANIFEST_WORTH
from proxycache.registry.note_use import Uses
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreError, StoreFull
from proxycache.store.leases import Leases
from proxycache.store.removal import Removed, let_stay, remove_files
from proxycache.store.space import LEASE, Space
from proxycache.store.spool import Spools
from proxycache.store.usage import FIRST, Candidate, Place, Usage
from proxycache.tasks import run_to_end

logger = logging.getLogger(__name__)

_BATCH = 256
_IDLE_SECONDS = 60.0
_FUTILE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomServices:
    """What making room needs."""

    space: Space
    usage: Usage
    blobs: BlobStore
    spools: Spools
    leases: Leases
    uses: Uses
    events: Events
    clock: Clock


class RoomMaker:
    """Reserves room, and evicts for it."""

    def __init__(self, services: RoomServices) -> None:
        self._services = services
        self._futile_until = 0.0
        self._futile_need = 0
        self._turn = asyncio.Lock()  # taken before the lease, for which processes wait by looking again and again

    def fits(self, size: int) -> bool:
        """Tell whether a blob of `size` bytes could be kept if there were nothing else."""
        return self._services.space.fits(size)

    async def reserve(self, digest: Digest, size: int) -> None:
        """Keep room for the `size` bytes of `digest` until `release`; raises StoreFull where there is none to be had.

        What a spool of it has on disk is a part of them. Where the database cannot tell what there is, only the disk
        itself is asked.
        """
        space = self._services.space
        if not space.fits(size):
            raise StoreFull(digest, size)
        if space.allowance.give(digest, size):
            return
        async with self._turn:
            if space.allowance.give(digest, size):  # renewed while we waited
                return
            async with self._services.leases.claim(LEASE):
                is_given = space.allowance.is_for(size) and await self._renew_allowance(digest, size)
                if not is_given and not await self._make_room(space.reserve, digest, size):
                    raise StoreFull(digest, size)

    async def release(self, digest: Digest) -> None:
        """End what was reserved for `digest`: its row is there, or nothing comes."""
        await self._services.space.release(digest)

    async def free_disk(self, need: int) -> bool:
        """Tell whether the disk takes `need` bytes that the budget does not count; evict for them if it must."""
        services = self._services
        if await run_to_end(services.space.available_on_disk) >= need:
            return True
        async with self._turn, services.leases.claim(LEASE):
            lacking = need - await run_to_end(services.space.available_on_disk)
            if lacking <= 0:  # made while we waited
                return True
            await self._evict_for(lacking)
        return await run_to_end(services.space.available_on_disk) >= need

    async def close(self) -> None:
        """Give back what this process may still give away."""
        await run_to_end(self._services.space.close)

    async def work_ahead(self) -> None:
        """Evict until there is some room for what comes next, if that can be had; raises OSError.

        A broken bound is mended as far as it can be.
        """
        async with self._turn, self._services.leases.claim(LEASE):
            space = self._services.space
            await self._adopt_left_behind()
            available = await run_to_end(space.available, await self._cached_bytes())
            if available < space.headroom:
                need = await self._choose_need(-available) or -available
                if need > 0:
                    await self._evict(need)
            await run_to_end(space.restore_ballast)

    async def _adopt_left_behind(self) -> None:
        """See to it that blobs whose promise was left behind have rows, which count in its place.

        What the database does not take stays promised until the next time.
        """
        services = self._services
        left = await run_to_end(services.space.left_behind)
        if left:
            await run_to_end(services.space.ballast.drop)  # a row is written before anything was evicted for it
        try:
            for digest in left:
                async with services.blobs.kept(digest):
                    size = services.blobs.size(digest)
                    if size is not None:
                        await services.usage.add_strays({digest: size}, now=services.clock.now())
                await services.space.release(digest)
        except StoreError as error:
            logger.warning("published blobs have no rows yet", extra={"why": str(error)})

    async def _renew_allowance(self, digest: Digest, size: int) -> bool:
        """Get room for many small blobs, and give `digest` some; tell whether that could be."""
        space, allowance = self._services.space, self._services.space.allowance
        spent, promised = allowance.spent, allowance.size + sum(allowance.given.values())
        if not await self._make_room(space.renew_allowance, promised):
            await run_to_end(allowance.write, allowance.owed)  # it may have been promised, and then not be there
            return False
        allowance.renewed(spent)
        return allowance.give(digest, size)

    async def _make_room(self, reserve: Callable[..., int], *what: object) -> bool:
        """Evict if `reserve` says that something is lacking; tell whether nothing is in the end."""
        lacking = await self._count_and(reserve, *what)
        if lacking > 0:
            await self._evict_for(lacking)
            # Counted anew: the bytes of a spool that was given up stay for as long as somebody reads them.
            lacking = await self._count_and(reserve, *what)
        return lacking <= 0

    async def _count_and(self, reserve: Callable[..., int], *what: object) -> int:
        """Reserve, and return how many bytes are lacking for it.

        A promise that became a row after we had counted the rows is in neither: then it is counted and promised anew.
        """
        cached_bytes = await self._cached_bytes()
        while True:
            lacking = await run_to_end(reserve, *what, cached_bytes)
            before, cached_bytes = cached_bytes, await self._cached_bytes()
            if lacking > 0 or cached_bytes <= before:
                return lacking

    async def _cached_bytes(self) -> int:
        try:
            return await self._services.usage.cached_bytes()
        except StoreError as error:
            logger.warning("database in trouble", extra={"why": str(error)})
            return 0

    async def _evict_for(self, lacking: int) -> None:
        """Evict if that gives the `lacking` bytes, else nothing."""
        monotonic = self._services.clock.monotonic()
        if lacking >= self._futile_need and monotonic < self._futile_until:
            return  # so much could not be had a moment ago: do not look for it again for each fill
        need = await self._choose_need(lacking)
        if need:
            await self._evict(need)
        else:
            self._note_futile(lacking)

    async def _choose_need(self, lacking: int) -> int:
        """Return how much to evict where `lacking` bytes are: some room for what comes next with them if it is there.

        0: not even they are, since the rest is pinned, or owned, or another program's. Nobody would gain by it then
        that all that can go went.
        """
        evictable = await self._evictable_bytes(lacking)
        with_headroom = lacking + self._services.space.headroom
        if with_headroom <= evictable:
            return with_headroom
        return lacking if lacking <= evictable else 0

    async def _evictable_bytes(self, lacking: int) -> int:
        """Return how much can go; what of it is pinned is not asked where all of it is less than `lacking`."""
        services = self._services
        spooled = await run_to_end(services.spools.idle_bytes, _IDLE_SECONDS)
        try:
            cached = spooled + await services.usage.cached_bytes()
            if cached < lacking:
                return cached
            return spooled + await services.usage.evictable_bytes()
        except StoreError as error:
            logger.warning("cannot evict", extra={"why": str(error)})
            return spooled

    def _note_futile(self, need: int) -> None:
        self._futile_need, self._futile_until = need, self._services.clock.monotonic() + _FUTILE_SECONDS

    async def _evict(self, need: int) -> int:
        """Free `need` bytes or what there is to be freed: spools that nobody goes on with, then blobs by rank."""
        services = self._services
        await run_to_end(services.space.ballast.drop)
        freed = await run_to_end(services.spools.abandon, need, _IDLE_SECONDS)
        after: Place | None = FIRST
        await self._write_uses()
        try:
            freed += await self._remove_left(need - freed)
            while freed < need and after is not None:
                batch, after = await services.usage.mark_leaving(after, need=need - freed, most=_BATCH)
                freed += await self._remove(batch)
        except StoreError as error:
            logger.warning("cannot evict", extra={"why": str(error)})
        if freed < need:
            self._note_futile(0)  # all the rest is pinned, or being read
        return freed

    async def _write_uses(self) -> None:
        try:
            await self._services.uses.write()
        except StoreError as error:  # what is known of them has to do then
            logger.warning("uses not written down", extra={"why": str(error)})

    async def _remove_left(self, need: int) -> int:
        """Remove what somebody marked and did not come to remove, until `need` bytes are free; return how many are.

        What of it stays keeps its mark, which a purge may rely on; what goes was not chosen by its rank, so that this
        says nothing of the others.
        """
        blobs, usage = self._services.blobs, self._services.usage
        freed, left = 0, await usage.list_leaving() if need > 0 else []
        for start in range(0, len(left), _BATCH):
            if freed >= need:
                break
            freed += await self._forget(await remove_files(blobs, usage, left[start : start + _BATCH]))
        return freed

    async def _remove(self, batch: list[Candidate]) -> int:
        """Remove the files of blobs that we marked, then their rows; return how many bytes that freed."""
        blobs, usage = self._services.blobs, self._services.usage
        removed = await remove_files(blobs, usage, batch)
        await let_stay(blobs, usage, removed.stayed)
        ranks = [candidate.rank for candidate in removed.gone if candidate.rank < MANIFEST_WORTH]
        return await self._forget(removed, level=max(ranks, default=0.0))

    async def _forget(self, removed: Removed, *, level: float = 0.0) -> int:
        await self._services.usage.forget(removed.gone, self._services.blobs.has, level=level)
        if removed.gone:
            self._services.events.emit(BlobsEvicted(count=len(removed.gone), size=removed.size))
        return removed.taken
