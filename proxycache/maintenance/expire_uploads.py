"""Remove upload sessions that nobody has gone on with for a day: docker, for one, never cancels any."""

import asyncio
import logging

from proxycache.store.uploads import Uploads
from proxycache.tasks import run_to_end

logger = logging.getLogger(__name__)

AGE_SECONDS = 86_400.0
EVERY_SECONDS = 3_600.0


async def expire_uploads(uploads: Uploads) -> None:
    """Run once an hour, for ever."""
    while True:
        try:
            count = await run_to_end(uploads.expire, AGE_SECONDS)
            if count:
                logger.info("uploads expired", extra={"count": count})
        except OSError as error:
            logger.warning("cannot expire uploads", extra={"why": str(error)})
        await asyncio.sleep(EVERY_SECONDS)
