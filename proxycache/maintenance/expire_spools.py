"""Remove spools that nobody has gone on with for a day, and what a crash left beside them."""

import asyncio
import logging

from proxycache.store.errors import StoreError
from proxycache.store.spool import Spools
from proxycache.tasks import run_to_end

logger = logging.getLogger(__name__)

AGE_SECONDS = 86_400.0
EVERY_SECONDS = 3_600.0


async def expire_spools(spools: Spools) -> None:
    """Run once an hour, for ever."""
    while True:
        try:
            count = await run_to_end(spools.expire, AGE_SECONDS)
            if count:
                logger.info("spools expired", extra={"count": count})
        except (OSError, StoreError) as error:
            logger.warning("cannot expire spools", extra={"why": str(error)})
        await asyncio.sleep(EVERY_SECONDS)
