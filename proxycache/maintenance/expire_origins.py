"""Let the ledger forget, hourly and in one process, what it was told long ago and nothing needs."""

import logging

from proxycache.clock import Clock
from proxycache.maintenance.schedule import run_hourly_in_turn
from proxycache.store.expiry import Expiry
from proxycache.store.leases import Leases

logger = logging.getLogger(__name__)


async def expire_origins(expiry: Expiry, leases: Leases, clock: Clock) -> None:
    """Forget now and hourly, for ever; of several workers that wake together one does."""

    async def expire() -> None:
        forgotten = await expiry.expire(now=clock.now())
        if forgotten:
            logger.info("old origins forgotten", extra={"entries": forgotten})

    await run_hourly_in_turn("expire origins", expire, leases)
