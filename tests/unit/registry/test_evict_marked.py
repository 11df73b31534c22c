"""What a purge or a collection has marked, and eviction meets: it goes first, and its mark is theirs."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxycache.events import Events
from proxycache.oci.digest import Digest, digest_of
from proxycache.registry.make_room import RoomMaker, RoomServices
from proxycache.registry.note_use import Uses
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.leases import Leases
from proxycache.store.links import BlobRow
from proxycache.store.purge import Wanted
from proxycache.store.settings import StorageSettings
from proxycache.store.space import Space
from proxycache.store.spool import Spools
from proxycache.store.tables import Tables
from tests.fakes.clock import FakeClock

PURGED, OTHER = "docker.io/library/alpine", "docker.io/library/busybox"
MIB = 1024 * 1024


async def add(tables: Tables, blobs: BlobStore, name: str, content: bytes, *, worth: float) -> Digest:
    digest = digest_of(content)
    await blobs.put(digest, content)
    row = BlobRow(digest=digest, size=len(content), is_public=True, stored_at=1.0, worth=worth)
    await tables.links.record(row, repository=name)
    return digest


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[tuple[Database, BlobStore, RoomMaker]]:
    layout, clock = Layout(tmp_path / "data"), FakeClock()
    layout.prepare()
    blobs, database = BlobStore(layout), await Database.open(layout.database)
    usage = Tables.of(database).usage
    room = RoomMaker(
        RoomServices(
            space=Space(layout, StorageSettings(directory=layout.directory, max_size=24 * MIB, min_free=0)),
            usage=usage,
            blobs=blobs,
            spools=Spools(layout, clock),
            leases=Leases(layout),
            uses=Uses(usage, clock),
            events=Events(),
            clock=clock,
        )
    )
    yield database, blobs, room
    await database.close()


@pytest.mark.parametrize("is_read", [True, False])
async def test_what_a_purge_marked_goes_first_or_keeps_its_mark(
    store: tuple[Database, BlobStore, RoomMaker], *, is_read: bool
) -> None:
    database, blobs, room = store
    tables = Tables.of(database)
    purged = await add(tables, blobs, PURGED, bytes(MIB), worth=40.0)
    used = [await add(tables, blobs, OTHER, bytes([number + 1]) * MIB, worth=float(number)) for number in range(18)]
    await tables.purge.forget(Wanted(names=[PURGED]), is_dry=False)
    reader = blobs.open(used[0])
    assert reader is not None

    with reader, contextlib.ExitStack() as readers:
        if is_read:
            readers.enter_context(blobs.open(purged) or contextlib.nullcontext())
        await room.work_ahead()

        ((level,),) = await database.fetch("SELECT level FROM space")
        held = [blobs.has(digest) for digest in used]
        assert held[0]
        assert held[1:] == sorted(held[1:])
        assert not held[1]
        assert level == sum(not each for each in held)  # the highest rank of these
        assert (blobs.has(purged), await tables.usage.is_leaving(purged)) == (is_read, is_read)
        assert not await tables.usage.is_leaving(used[0])
    left = (await tables.purge.forget(Wanted(names=[PURGED]), is_dry=False)).left
    assert [item.digest for item in left] == [purged] * is_read


async def test_many_blobs_below_a_block_give_a_block_each(store: tuple[Database, BlobStore, RoomMaker]) -> None:
    database, _, room = store
    async with database.transaction() as connection:
        await connection.executemany(
            "INSERT INTO blobs (digest, size, is_public, stored_at) VALUES (?, 100, 1, 1.0)",
            [(str(digest_of(str(number).encode())),) for number in range(19 * 256)],
        )

    await room.work_ahead()

    assert 12 * MIB < await Tables.of(database).usage.cached_bytes() < 19 * MIB
