"""What is counted and promised by turns with others who fill and record."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxycache.events import Events
from proxycache.oci.digest import Digest, digest_of
from proxycache.registry.make_room import RoomMaker, RoomServices
from proxycache.registry.note_use import Uses
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.errors import StoreFull
from proxycache.store.layout import Layout
from proxycache.store.leases import Leases
from proxycache.store.links import BlobRow
from proxycache.store.settings import StorageSettings
from proxycache.store.space import Space
from proxycache.store.spool import Spools
from proxycache.store.tables import Tables
from tests.fakes.clock import FakeClock

NAME = "docker.io/library/alpine"
MIB = 1024 * 1024
ONE, OTHER = digest_of(b"one"), digest_of(b"other")


class GatedThreads(ThreadPoolExecutor):
    """The disk's thread, which begins once the gate is open; `is_asked` once something waits for it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.is_asked = asyncio.Event()
        super().__init__(1, initializer=self.gate.wait)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.is_asked.set()
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    return layout


@pytest.fixture
async def database(layout: Layout) -> AsyncIterator[Database]:
    database = await Database.open(layout.database)
    yield database
    await database.close()


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


def room_in(layout: Layout, tables: Tables, space: Space, clock: FakeClock | None = None) -> RoomMaker:
    clock = clock or FakeClock()
    return RoomMaker(
        RoomServices(
            space=space,
            usage=tables.usage,
            blobs=BlobStore(layout),
            spools=Spools(layout, clock),
            leases=Leases(layout),
            uses=Uses(tables.usage, clock),
            events=Events(),
            clock=clock,
        )
    )


async def test_what_becomes_a_row_while_we_count_is_not_given_away_once_more(layout: Layout, tables: Tables) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=28 * MIB, min_free=0))
    threads = GatedThreads()
    room = room_in(layout, tables, space)
    await room.reserve(ONE, 16 * MIB)
    asyncio.get_running_loop().set_default_executor(threads)

    reserving = asyncio.get_running_loop().create_task(room.reserve(OTHER, 16 * MIB))
    await threads.is_asked.wait()  # the rows are counted, the promises are not
    row = BlobRow(digest=ONE, size=16 * MIB, is_public=True, stored_at=1.0)
    await tables.links.record(row, repository=NAME)
    layout.reservation(ONE).unlink()
    threads.gate.set()
    await reserving

    assert layout.reservation(OTHER).exists()
    assert space.available(await tables.usage.cached_bytes()) >= 0


async def record(tables: Tables, digest: Digest, size: int) -> None:
    row = BlobRow(digest=digest, size=size, is_public=True, stored_at=1.0)
    await tables.links.record(row, repository=f"{NAME}-{digest.encoded[:8]}")


async def test_room_ahead_of_need_is_not_made_where_it_cannot_be_had(layout: Layout, tables: Tables) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=100 * MIB, min_free=0))
    room = room_in(layout, tables, space)
    await record(tables, OTHER, MIB)
    await tables.pins.add(f"{NAME}-{ONE.encoded[:8]}", "", now=1.0)
    await record(tables, ONE, space.available(await tables.usage.cached_bytes()) - 2 * MIB)

    await room.work_ahead()

    assert await tables.usage.evictable_bytes() == MIB
    await tables.pins.remove(f"{NAME}-{ONE.encoded[:8]}", "")
    await room.work_ahead()
    assert await tables.usage.cached_bytes() < 94 * MIB


async def test_what_could_not_be_had_is_looked_for_again_a_second_later(layout: Layout, tables: Tables) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=28 * MIB, min_free=0))
    clock = FakeClock()
    room = room_in(layout, tables, space, clock)
    await record(tables, ONE, 20 * MIB)
    await tables.pins.add(f"{NAME}-{ONE.encoded[:8]}", "", now=1.0)
    with pytest.raises(StoreFull):
        await room.reserve(OTHER, 16 * MIB)
    await tables.pins.remove(f"{NAME}-{ONE.encoded[:8]}", "")
    with pytest.raises(StoreFull):
        await room.reserve(OTHER, 16 * MIB)

    clock.advance(1.0)
    await room.reserve(OTHER, 16 * MIB)

    assert layout.reservation(OTHER).stat().st_size == 16 * MIB


async def test_what_nobody_goes_on_with_counts_as_what_can_be_had(layout: Layout, tables: Tables) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=28 * MIB, min_free=0))
    room = room_in(layout, tables, space)
    layout.spool_data(ONE).write_bytes(bytes(16 * MIB))
    os.utime(layout.spool_data(ONE), (1.0, 1.0))

    await room.reserve(OTHER, 16 * MIB)

    assert not layout.spool_data(ONE).exists()


@pytest.mark.parametrize("has_row", [True, False])
async def test_a_blob_whose_process_died_before_it_ended_its_promise_gets_a_row_and_counts_once(
    layout: Layout, tables: Tables, *, has_row: bool
) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=100 * MIB, min_free=0))
    digest = digest_of(bytes(MIB))
    await BlobStore(layout).put(digest, bytes(MIB))
    layout.reservation(digest).touch()
    os.truncate(layout.reservation(digest), MIB)  # as a killed process leaves it
    if has_row:
        await record(tables, digest, MIB)

    await room_in(layout, tables, space).work_ahead()

    assert await tables.usage.cached_bytes() == MIB
    assert not layout.reservation(digest).exists()


async def test_a_blob_that_went_gets_no_row(layout: Layout, tables: Tables) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=100 * MIB, min_free=0))
    layout.reservation(ONE).touch()
    os.truncate(layout.reservation(ONE), 90 * MIB)

    await room_in(layout, tables, space).work_ahead()

    assert not layout.reservation(ONE).exists()
    assert await tables.usage.cached_bytes() == 0


async def test_what_is_pinned_is_not_asked_where_all_that_is_cached_would_not_do(
    layout: Layout, database: Database
) -> None:
    tables = Tables.of(database)
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=0, min_free=2**60))
    await record(tables, ONE, MIB)
    asked: list[str] = []
    async with database.reading() as reader:
        await reader.set_trace_callback(asked.append)

    with pytest.raises(StoreFull):
        await room_in(layout, tables, space).reserve(OTHER, 16 * MIB)

    assert asked
    assert not any("pins" in statement for statement in asked)


async def test_rows_that_the_database_does_not_take_keep_nobody_from_evicting(
    layout: Layout, database: Database
) -> None:
    tables = Tables.of(database)
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=100 * MIB, min_free=0))
    left = digest_of(bytes(MIB))
    await BlobStore(layout).put(left, bytes(MIB))
    layout.reservation(left).touch()
    os.truncate(layout.reservation(left), MIB)
    await record(tables, ONE, 100 * MIB)
    async with database.transaction() as connection:
        await connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON blobs BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )

    await room_in(layout, tables, space).work_ahead()

    assert await tables.usage.cached_bytes() == 0
    assert space.left_behind() == [left]


async def test_room_for_small_blobs_that_is_lost_to_a_row_while_we_count_stays_promised_to_nobody(
    layout: Layout, tables: Tables
) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=28 * MIB, min_free=0))
    threads = GatedThreads()
    room = room_in(layout, tables, space)
    await tables.pins.add(f"{NAME}-{ONE.encoded[:8]}", "", now=1.0)
    asyncio.get_running_loop().set_default_executor(threads)

    reserving = asyncio.get_running_loop().create_task(room.reserve(OTHER, 1))
    await threads.is_asked.wait()  # the rows are counted, the promises are not
    await record(tables, ONE, 28 * MIB)
    threads.gate.set()

    with pytest.raises(StoreFull):
        await reserving
    assert [path.stat().st_size for path in layout.allowances.iterdir()] == [0]
