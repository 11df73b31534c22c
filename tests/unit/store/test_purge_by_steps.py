"""How a purge goes on: what may come in between, what is held up, and what is found by who asks again."""

import asyncio
import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest

from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.errors import StoreError
from proxycache.store.layout import Layout
from proxycache.store.purge import Wanted
from proxycache.store.tables import Tables
from proxycache.store.unneeded import Aside, find_unneeded, put_aside, put_back
from tests.unit.store.purging import ALPINE, BASE, BUSYBOX, OWN, THIRD, add_image, add_tag, blob_of, leaving
from tests.unit.turns import count_at_each_turn


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


async def test_a_dry_run_changes_nothing(tables: Tables, database: Database) -> None:
    manifest = await add_image(tables, ALPINE, "1", OWN)
    await tables.negatives.record(f"tag {ALPINE} 2", "gone", until=100.0, now=1.0)
    before = database.generation()

    for wanted in (
        Wanted(names=[ALPINE]),
        Wanted(names=[ALPINE], is_tag="1".__eq__),
        Wanted(names=[ALPINE], digest=manifest),
    ):
        assert leaving(await tables.purge.forget(wanted, is_dry=True)) == {manifest, OWN}

    assert database.generation() == before
    assert await tables.tags.list_tags(ALPINE) == ["1"]
    assert await tables.links.has(ALPINE, OWN)
    assert await tables.negatives.find(f"tag {ALPINE} 2", 2.0) == "gone"


async def test_blobs_go_a_few_at_a_time_and_their_tag_with_the_last_of_them(tables: Tables, database: Database) -> None:
    layers = [digest_of(str(number).encode()) for number in range(1200)]
    async with database.transaction() as connection:
        await connection.executemany(
            "INSERT INTO blobs (digest, size, is_public, stored_at) VALUES (?, 10, 1, 1.0)", [(str(d),) for d in layers]
        )
        await connection.executemany(f"INSERT INTO links VALUES ('{ALPINE}', ?)", [(str(d),) for d in layers])
    await add_image(tables, ALPINE, "1", OWN)
    marked = "SELECT count(*) FROM blobs WHERE is_leaving = 1"
    tags = "SELECT count(*) FROM tags"
    links = "SELECT count(*) FROM links"

    async def forget() -> None:
        assert len((await tables.purge.forget(Wanted(names=[ALPINE]), is_dry=False)).leaving) == 1202

    seen = await count_at_each_turn(database, f"SELECT ({marked}) UNION ALL {tags} UNION ALL {links}", forget())

    marks, left, held = [*seen[::3], 1202], seen[1::3], [*seen[2::3], 0]
    assert [count for count, tag in zip(marks, left, strict=False) if not tag] == [1202] * left.count(0)
    assert max(after - before for before, after in pairwise(marks)) == 500
    assert max(before - after for before, after in pairwise(held)) == 500


@pytest.mark.parametrize(
    ("change", "tags", "others"),
    [
        (f"INSERT INTO pins VALUES ('{ALPINE}', '1', 1.0)", ["1"], {THIRD}),
        (f"INSERT INTO pins VALUES ('{ALPINE}', '', 1.0)", ["1"], set()),
        (f"INSERT INTO tags SELECT '{BUSYBOX}', tag, digest, media_type, size, 1.0 FROM tags", [], {THIRD}),
    ],
)
async def test_what_is_needed_since_it_was_decided_stays(
    tables: Tables, database: Database, change: str, tags: list[str], others: set[Digest]
) -> None:
    await add_image(tables, ALPINE, "1", OWN)
    await tables.links.record(blob_of(THIRD), repository=ALPINE)

    async with asyncio.TaskGroup() as group:
        async with database.transaction():
            purging = group.create_task(tables.purge.forget(Wanted(names=[ALPINE]), is_dry=False))
            await asyncio.sleep(0)  # it asks for its turn
        async with database.transaction() as connection:
            await connection.execute(change)

    assert leaving(purging.result()) == {item.digest for item in await tables.usage.list_leaving()} == others
    assert await tables.tags.list_tags(ALPINE) == tags
    assert await tables.links.has(ALPINE, THIRD) == (not others)


async def test_what_was_marked_before_is_told_with_whatever_is_purged_next(tables: Tables) -> None:
    first, second = await add_image(tables, ALPINE, "1", OWN), await add_image(tables, ALPINE, "2", BASE)
    await tables.purge.forget(Wanted(names=[ALPINE]), is_dry=False)
    await add_tag(tables, BUSYBOX, "1", second)

    for is_dry in (True, False):
        purged = await tables.purge.forget(Wanted(names=[ALPINE]), is_dry=is_dry)
        assert ({item.digest for item in purged.left}, purged.is_known) == ({first, OWN}, False)
    await tables.pins.add(BUSYBOX, "1", now=1.0)
    assert {item.digest for item in await tables.usage.list_leaving()} == {first, OWN}


@pytest.mark.parametrize("wanted", [Wanted(names=[ALPINE], is_tag=str.isdigit), Wanted(names=[ALPINE])])
async def test_who_asks_again_finds_all_that_an_interrupted_purge_left(
    tables: Tables, database: Database, layout: Layout, wanted: Wanted
) -> None:
    layers = [digest_of(str(number).encode()) for number in range(600)]
    parts = {*layers, await add_image(tables, ALPINE, "1", *layers), await add_image(tables, ALPINE, "2", OWN), OWN}
    async with database.transaction() as connection:  # public, and in another repository's name
        await connection.execute("DELETE FROM links")

    for statement in ("UPDATE OF is_leaving ON blobs", "DELETE ON tags"):
        with closing(sqlite3.connect(layout.database)) as other:
            other.execute(f"CREATE TRIGGER stop BEFORE {statement} BEGIN SELECT raise(ABORT, 'killed'); END")
            with pytest.raises(StoreError):
                await tables.purge.forget(wanted, is_dry=False)
            other.execute("DROP TRIGGER stop")

    again = await tables.purge.forget(wanted, is_dry=False)
    assert (again.is_known, leaving(again) | {item.digest for item in again.left}) == (True, parts)
    assert {item.digest for item in await tables.usage.list_leaving()} == parts
    assert await tables.tags.list_tags(ALPINE) == []


async def test_what_is_put_aside_for_one_question_is_not_for_another(tables: Tables, database: Database) -> None:
    await add_image(tables, ALPINE, "1", BASE)
    await add_image(tables, BUSYBOX, "1", BASE)
    names, tags = [ALPINE, BUSYBOX], [(ALPINE, "1"), (BUSYBOX, "1")]
    all_tags, all_names = Aside(repositories=names[:1], tags=tags), Aside(repositories=names, tags=tags[:1])
    both = Aside(repositories=names, tags=tags)
    asked = [all_tags, all_names, both]
    async with database.snapshot() as connection:
        for aside in asked:
            await put_aside(connection, aside)

    async with database.transaction() as connection:
        found = [[blob.digest for blob in await find_unneeded(connection, [str(BASE)], aside)] for aside in asked]
        await put_back(connection, both)
        found.append([blob.digest for blob in await find_unneeded(connection, [str(BASE)], both)])

    assert found == [[], [], [str(BASE)], []]


async def test_what_is_put_aside_is_counted_once_however_many_blobs_go(tables: Tables, database: Database) -> None:
    """Else each of many transactions takes as long as all of them together should."""
    layers = [digest_of(str(number).encode()) for number in range(1200)]
    await add_image(tables, ALPINE, "1", *layers)
    for number in range(300):
        await add_tag(tables, ALPINE, f"old-{number}", OWN)
    put: list[str] = []
    async with database.snapshot() as connection:
        await connection.set_trace_callback(put.append)

    await tables.purge.forget(Wanted(names=[ALPINE]), is_dry=False)

    async with database.snapshot() as connection:
        await connection.set_trace_callback(None)
        for table in ("tags_aside", "repositories_aside"):
            assert await connection.execute_fetchall(f"SELECT * FROM {table}") == []
    begun = [text.split()[1] for text in put if text.startswith("BEGIN")]
    assert begun.count("IMMEDIATE") > 3
    assert sum("INTO tags_aside" in text for text in put) == 301
    first = next(place for place, text in enumerate(put) if text == "BEGIN IMMEDIATE")
    assert not [text for text in put[first:] if "INTO tags_aside" in text]
