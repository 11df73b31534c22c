"""One durable commit for all who wait to write: each costs a sync of the disk, and pushers come several at a time.

Whoever gets the turn to write writes the rows of everybody who waits behind it; these find theirs committed when their
own turn comes. If the commit fails, whoever made it hears why; the rows of the others are tried again in their turn.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from proxycache.store.database import Database

Row = TypeVar("Row")


class JointWrites(Generic[Row]):
    """Rows of one kind; `write`, which blocks, writes some within a transaction, also if they are there already."""

    def __init__(self, database: Database, write: Callable[[sqlite3.Connection, Sequence[Row]], None]) -> None:
        self._database = database
        self._write = write
        self._waiting: dict[object, Row] = {}
        self._being_written: frozenset[object] = frozenset()
        self._has_ended = asyncio.Event()

    async def add(self, row: Row) -> None:
        """Write `row`, durable on return. Who is cancelled does not leave before it is known whether it was written."""
        ticket = object()
        self._waiting[ticket] = row
        try:
            async with self._database.turn_to_write():
                if ticket in self._waiting:
                    await self._write_all()
        finally:
            while ticket in self._being_written:
                with contextlib.suppress(asyncio.CancelledError):
                    await self._has_ended.wait()
            self._waiting.pop(ticket, None)

    async def _write_all(self) -> None:
        rows = dict(self._waiting)
        self._being_written = frozenset(rows)
        self._has_ended.clear()
        try:
            await self._database.commit_durably(lambda connection: self._write(connection, list(rows.values())))
            for ticket in rows:
                del self._waiting[ticket]
        finally:
            self._being_written = frozenset()
            self._has_ended.set()
