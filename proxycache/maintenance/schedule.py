"""When background jobs run: at the start and then again and again, in every worker or in one of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from proxycache.store.errors import StoreError
from proxycache.store.leases import Leases

logger = logging.getLogger(__name__)

HOURLY_SECONDS = 3_600.0

Job = Callable[[], Awaitable[None]]


async def run_hourly(name: str, job: Job) -> None:
    """Run `job` now and hourly, for ever; what the disk or the database refuses is told, and tried the next time."""
    while True:
        try:
            await job()
        except (OSError, StoreError) as error:
            logger.warning("cannot %s", name, extra={"why": str(error)})
        await asyncio.sleep(HOURLY_SECONDS)


async def run_hourly_in_turn(name: str, job: Job, leases: Leases) -> None:
    """Do what `run_hourly` does; of several workers that wake together one runs it."""

    async def run_unless_done() -> None:
        async with leases.claim(name) as claim:
            if claim.inherited is None:
                await job()
                claim.settle(b"done")

    await run_hourly(name, run_unless_done)
