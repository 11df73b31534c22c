import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxycache.store.database import SCHEMA_VERSION, Database
from proxycache.store.errors import FormatTooNew, StoreBusy, StoreDamaged, StoreUnusable
from proxycache.store.layout import Layout
from tests.unit.store.conftest import StartProcess

ADD = "INSERT INTO negatives (key, code, until) VALUES (?, 'TEST', 1.0)"
KEYS = "SELECT key FROM negatives ORDER BY key"

# Writes a row, and holds the write lock until a line comes in; then commits.
HOLD_WRITE_LOCK = """
import asyncio, sys
from pathlib import Path
from proxycache.store.database import Database

async def main():
    database = await Database.open(Path(sys.argv[1]))
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO negatives (key, code, until) VALUES ('other', 'TEST', 1.0)")
        print("holding", flush=True)
        sys.stdin.readline()
    await database.close()

asyncio.run(main())
"""

# Says that it is there, waits for a line, opens the database and adds a row.
OPEN_AND_WRITE = """
import asyncio, sys
from pathlib import Path
from proxycache.store.database import Database

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    database = await Database.open(Path(sys.argv[1]))
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO negatives (key, code, until) VALUES (?, 'TEST', 1.0)", (sys.argv[2],))
    await database.close()

asyncio.run(main())
"""


async def add(database: Database, key: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(ADD, (key,))


async def keys(database: Database) -> list[str]:
    return [key for (key,) in await database.fetch(KEYS)]


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the write lock, as another process would: by a connection that the database does not know of."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


async def test_committed_rows_are_read_at_once(database: Database) -> None:
    await add(database, "a")

    assert await keys(database) == ["a"]


async def test_rows_are_there_after_reopening(layout: Layout) -> None:
    first = await Database.open(layout.database)
    await add(first, "a")
    await first.close()

    second = await Database.open(layout.database)
    found = await keys(second)
    await second.close()

    assert found == ["a"]


async def test_uncommitted_rows_are_not_read(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(ADD, ("a",))
        assert await keys(database) == []


async def test_error_inside_rolls_back(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(ADD, ("a",))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()

    await add(database, "b")
    assert await keys(database) == ["b"]


async def test_failures_of_the_caller_stay_its_own(database: Database) -> None:
    with pytest.raises(FileNotFoundError):
        async with database.transaction():
            raise FileNotFoundError


async def test_cancelled_writer_leaves_no_transaction(database: Database) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with database.transaction() as connection:
            await connection.execute(ADD, ("a",))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await add(database, "b")
    assert await keys(database) == ["b"]


async def test_writer_cancelled_while_it_waits_leaves_no_transaction(database: Database, layout: Layout) -> None:
    task = asyncio.get_running_loop().create_task(add(database, "a"))
    with write_lock(layout.database):
        await asyncio.sleep(0)  # it has asked for the lock
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with write_lock(layout.database):
        pass
    await add(database, "b")
    assert await keys(database) == ["b"]


async def test_writers_take_turns(database: Database) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(add(database, f"{number:02}"))

    assert await keys(database) == [f"{number:02}" for number in range(50)]


async def test_writer_waits_for_another_process_and_readers_do_not(
    database: Database, layout: Layout, start_process: StartProcess
) -> None:
    process = start_process(HOLD_WRITE_LOCK, layout.database)
    await asyncio.to_thread(process.stdout.readline)

    writing = asyncio.get_running_loop().create_task(add(database, "ours"))
    assert await keys(database) == []
    assert not writing.done()
    _, errors = await asyncio.to_thread(process.communicate, "go\n")
    await writing

    assert await keys(database) == ["other", "ours"], errors


async def test_writer_that_waited_too_long_says_busy(database: Database, layout: Layout) -> None:
    with write_lock(layout.database):
        async with asyncio.timeout(15):
            outcomes = await asyncio.wait([asyncio.get_running_loop().create_task(add(database, key)) for key in "ab"])
        assert await keys(database) == []

    errors = [task.exception() for task in outcomes[0]]
    assert [type(error) for error in errors] == [StoreBusy, StoreBusy]
    await add(database, "c")
    assert await keys(database) == ["c"]


async def test_killed_writer_leaves_no_rows_and_no_lock(
    database: Database, layout: Layout, start_process: StartProcess
) -> None:
    process = start_process(HOLD_WRITE_LOCK, layout.database)
    await asyncio.to_thread(process.stdout.readline)

    process.kill()
    await add(database, "ours")

    assert await keys(database) == ["ours"]


async def test_many_processes_may_make_the_database_at_once(layout: Layout, start_process: StartProcess) -> None:
    processes = [start_process(OPEN_AND_WRITE, layout.database, number) for number in range(4)]
    for process in processes:
        await asyncio.to_thread(process.stdout.readline)
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [await asyncio.to_thread(process.communicate) for process in processes]

    database = await Database.open(layout.database)
    found = await keys(database)
    await database.close()

    assert found == ["0", "1", "2", "3"], results


async def test_generation_changes_with_our_commits_only(database: Database) -> None:
    before = database.generation()
    await keys(database)
    assert database.generation() == before

    await add(database, "a")

    assert database.generation() != before


async def test_generation_changes_with_commits_of_others(
    database: Database, layout: Layout, start_process: StartProcess
) -> None:
    process = start_process(HOLD_WRITE_LOCK, layout.database)
    await asyncio.to_thread(process.stdout.readline)
    before = database.generation()

    await asyncio.to_thread(process.communicate, "go\n")

    assert database.generation() != before


async def test_only_what_takes_back_is_a_revocation(database: Database) -> None:
    before = database.revocations()
    await add(database, "a")
    assert database.revocations() == before

    async with database.transaction() as connection:
        await connection.execute("UPDATE revocations SET count = count + 1")

    assert database.revocations() == before + 1


async def test_newer_schema_is_refused(layout: Layout) -> None:
    connection = sqlite3.connect(layout.database)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()

    with pytest.raises(FormatTooNew, match=f"knows {SCHEMA_VERSION}"):
        await Database.open(layout.database)


async def test_something_else_in_its_place_is_damage_and_stays(layout: Layout) -> None:
    layout.database.write_bytes(b"something else" * 1000)

    with pytest.raises(StoreDamaged, match=r"proxycache\.db is damaged .* move .* away"):
        await Database.open(layout.database)

    assert layout.database.read_bytes() == b"something else" * 1000


async def test_damage_found_while_running_is_an_error_of_the_store(layout: Layout) -> None:
    database = await Database.open(layout.database)
    await add(database, "a")
    [(page,)] = await database.fetch("SELECT rootpage FROM sqlite_master WHERE name = 'negatives'")
    await database.close()
    with layout.database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    damaged = await Database.open(layout.database)
    with pytest.raises(StoreDamaged, match="malformed"):
        await keys(damaged)
    with pytest.raises(StoreDamaged, match="malformed"):
        await add(damaged, "b")
    await damaged.close()


async def test_missing_directory_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="No such file"):
        await Database.open(tmp_path / "missing" / "proxycache.db")


async def test_directory_in_its_place_is_an_error_of_the_store(layout: Layout) -> None:
    layout.database.mkdir()

    with pytest.raises(StoreUnusable, match="unable to open"):
        await Database.open(layout.database)
