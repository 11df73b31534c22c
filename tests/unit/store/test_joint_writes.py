import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from proxycache.store.database import Database
from proxycache.store.joint_writes import JointWrites
from proxycache.store.layout import Layout

ADD = "INSERT OR REPLACE INTO negatives (key, code, until) VALUES (?, 'TEST', 1.0)"
KEYS = "SELECT key FROM negatives ORDER BY key"


class Writer:
    """Writes keys, and knows in which batches. `to_fail`: how many times it raises first."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.synchronous: list[int] = []
        self.to_fail = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self._loop = asyncio.get_running_loop()
        self.has_begun = asyncio.Event()

    def write(self, connection: sqlite3.Connection, rows: Sequence[str]) -> None:
        self.batches.append(list(rows))
        self.synchronous += connection.execute("PRAGMA synchronous").fetchone()
        connection.executemany(ADD, [(row,) for row in rows])
        self._loop.call_soon_threadsafe(self.has_begun.set)
        self.may_end.wait()
        if self.to_fail:
            self.to_fail -= 1
            raise ConnectionAbortedError


@pytest.fixture
async def database(layout: Layout) -> AsyncIterator[Database]:
    database = await Database.open(layout.database)
    yield database
    await database.close()


async def keys(database: Database) -> list[str]:
    return [key for (key,) in await database.fetch(KEYS)]


async def start_in_line(database: Database, joint: JointWrites[str], *rows: str) -> list[asyncio.Task[None]]:
    """Hand rows in while somebody else writes, so that all of them wait when their turn comes."""
    async with database.turn_to_write():
        tasks = [asyncio.get_running_loop().create_task(joint.add(row)) for row in rows]
        await asyncio.sleep(0)
    return tasks


async def test_those_who_wait_share_one_durable_commit(database: Database) -> None:
    writer = Writer()

    await asyncio.wait(await start_in_line(database, JointWrites(database, writer.write), "a", "b", "c"))

    assert (writer.batches, writer.synchronous) == ([["a", "b", "c"]], [2])
    assert await keys(database) == ["a", "b", "c"]


async def test_who_comes_later_gets_a_commit_of_its_own(database: Database) -> None:
    writer = Writer()
    joint = JointWrites(database, writer.write)

    await joint.add("a")
    await joint.add("b")

    assert writer.batches == [["a"], ["b"]]


async def test_who_comes_while_others_are_written_is_in_the_next_commit(database: Database) -> None:
    writer = Writer()
    joint = JointWrites(database, writer.write)
    writer.may_end.clear()
    loop = asyncio.get_running_loop()
    first = loop.create_task(joint.add("a"))
    await writer.has_begun.wait()

    others = [loop.create_task(joint.add(row)) for row in "bc"]
    await asyncio.sleep(0)
    writer.may_end.set()
    await asyncio.wait([first, *others])

    assert writer.batches == [["a"], ["b", "c"]]
    assert await keys(database) == ["a", "b", "c"]


async def test_a_commit_that_fails_is_told_to_one_and_tried_again_for_the_others(database: Database) -> None:
    writer = Writer()
    writer.to_fail = 1

    tasks = await start_in_line(database, JointWrites(database, writer.write), "a", "b", "c")
    await asyncio.wait(tasks)

    assert [type(task.exception()) for task in tasks] == [ConnectionAbortedError, type(None), type(None)]
    assert await keys(database) == ["b", "c"]


async def test_who_is_cancelled_before_its_turn_writes_nothing(database: Database) -> None:
    joint = JointWrites(database, Writer().write)
    async with database.turn_to_write():
        task = asyncio.get_running_loop().create_task(joint.add("a"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    await joint.add("b")

    assert task.cancelled()
    assert await keys(database) == ["b"]


async def test_who_is_cancelled_while_its_row_is_written_waits_for_the_end(database: Database) -> None:
    writer = Writer()
    writer.may_end.clear()
    tasks = await start_in_line(database, JointWrites(database, writer.write), "a", "b")
    await writer.has_begun.wait()

    tasks[1].cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    is_waiting = not tasks[1].done()
    writer.may_end.set()
    await asyncio.wait(tasks)

    assert is_waiting
    assert tasks[1].cancelled()
    assert await keys(database) == ["a", "b"]


async def test_the_others_are_written_if_the_one_who_writes_is_cancelled(database: Database) -> None:
    writer = Writer()
    writer.may_end.clear()
    writer.to_fail = 1
    tasks = await start_in_line(database, JointWrites(database, writer.write), "a", "b")
    await writer.has_begun.wait()

    tasks[0].cancel()
    await asyncio.sleep(0)
    writer.may_end.set()
    await asyncio.wait(tasks)

    assert tasks[0].cancelled()
    assert tasks[1].exception() is None
    assert await keys(database) == ["b"]
