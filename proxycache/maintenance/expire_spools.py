"""Remove spools that nobody has gone on with for a day, and what a crash left beside them."""

import logging

from proxycache.maintenance.schedule import run_hourly
from proxycache.store.spool import Spools
from proxycache.tasks import run_to_end

logger = logging.getLogger(__name__)

AGE_SECONDS = 86_400.0


async def expire_spools(spools: Spools) -> None:
    """Expire now and hourly, for ever."""

    async def expire() -> None:
        count = await run_to_end(spools.expire, AGE_SECONDS)
        if count:
            logger.info("spools expired", extra={"count": count})

    await run_hourly("expire spools", expire)
