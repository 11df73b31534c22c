"""Adopt in the background what is to be owned: all that is borrowed where the mode is `adopt`, and what is pinned.

What is still borrowed is looked for in the rows, after each push here and every few minutes, so that a restart forgets
nothing. One blob at a time, by one process at a time: the line belongs to those who pull.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from proxycache.events import Event, ImagePushed
from proxycache.registry.adopt import Adopter
from proxycache.store.errors import StoreError
from proxycache.store.leases import Leases
from proxycache.store.loans import BorrowedBlob, Loans

logger = logging.getLogger(__name__)

EVERY_SECONDS = 300.0


class BorrowedAdoption:
    """Knows what is to be adopted, and has it done."""

    def __init__(self, adopter: Adopter, loans: Loans, *, adopts_all: bool) -> None:
        self._adopter = adopter
        self._loans = loans
        self._adopts_all = adopts_all
        self._told: dict[BorrowedBlob, str] = {}

    async def adopt(self) -> None:
        """Adopt what can be had of it; the rest stays borrowed, with a line in the log. Raises StoreError."""
        told, self._told = self._told, {}
        for blob in await self._loans.list_needed() if self._adopts_all else await self._loans.list_pinned():
            why = await self._adopter.adopt(blob)
            facts = {"repository": blob.repository, "digest": str(blob.digest), "origin": blob.origin}
            if not why:
                logger.info("adopted", extra={**facts, "bytes": blob.size})
                continue
            self._told[blob] = why
            if told.get(blob) != why:  # else it was so the last time, minutes ago
                logger.warning("cannot adopt", extra={**facts, "why": why})


class PushSignal:
    """Set when an image was pushed that borrows; subscribe `note` to `Events`."""

    def __init__(self) -> None:
        self._pushed = asyncio.Event()

    def note(self, event: Event) -> None:
        """Look whether it is one."""
        if isinstance(event, ImagePushed) and event.borrowed_bytes:
            self._pushed.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a push since the last time, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pushed.wait()
        self._pushed.clear()


async def adopt_borrowed(current: Callable[[], BorrowedAdoption], leases: Leases, pushed: PushSignal) -> None:
    """Adopt now, after each push and every few minutes, for ever, as the `current` configuration wants it."""
    while True:
        # Who had the claim before may have looked before the push that woke us: we look ourselves.
        async with leases.claim("adopt borrowed"):
            try:
                await current().adopt()
            except (OSError, StoreError) as error:
                logger.warning("cannot adopt", extra={"why": str(error)})
        await pushed.wait(EVERY_SECONDS)
