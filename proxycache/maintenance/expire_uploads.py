"""Remove upload sessions that nobody has gone on with for a day: docker, for one, never cancels any."""

import logging

from proxycache.maintenance.schedule import run_hourly
from proxycache.store.uploads import Uploads
from proxycache.tasks import run_to_end

logger = logging.getLogger(__name__)

AGE_SECONDS = 86_400.0


async def expire_uploads(uploads: Uploads) -> None:
    """Expire now and hourly, for ever."""

    async def expire() -> None:
        count = await run_to_end(uploads.expire, AGE_SECONDS)
        if count:
            logger.info("uploads expired", extra={"count": count})

    await run_hourly("expire uploads", expire)
