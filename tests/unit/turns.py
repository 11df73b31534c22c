"""What another writer of the same process sees when it gets its turn: the turns are given in the order of asking."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from proxycache.store.database import Database


async def count_at_each_turn(database: Database, sql: str, work: Coroutine[Any, Any, object]) -> list[int]:
    """Run `work`, and return what `sql` counts whenever it lets somebody else write."""
    seen: list[int] = []
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        while not working.done():
            async with database.transaction() as connection:
                seen += [count for (count,) in await connection.execute_fetchall(sql)]
    return seen
