"""Write down what was used, and evict ahead of need: a fill should find room, not have to make it."""

import asyncio
import logging

from proxycache.registry.make_room import RoomMaker
from proxycache.registry.note_use import Uses
from proxycache.store.errors import StoreError

logger = logging.getLogger(__name__)

EVERY_SECONDS = 10.0
_WRITE_EVERY = 3


async def evict_ahead(room: RoomMaker, uses: Uses) -> None:
    """Look after the bounds now and every 10 seconds, write uses down every 30, for ever; the last when cancelled."""
    round_number = 0
    try:
        while True:
            try:
                await room.work_ahead()  # first, since on a full disk nothing can be written before it
                if round_number % _WRITE_EVERY == 0:
                    await uses.write()
            except (OSError, StoreError) as error:
                logger.warning("cannot look after the bounds", extra={"why": str(error)})
            await asyncio.sleep(EVERY_SECONDS)
            round_number += 1
    finally:
        try:
            await uses.write()
        except StoreError as error:
            logger.warning("uses not written down", extra={"why": str(error)})
