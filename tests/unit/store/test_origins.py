"""Who is known to have what: learnt, corrected, forgotten, and known of a database from before there was a ledger."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.local_content import LocalContent
from proxycache.store.origins import BLOB_TYPE, Origin, Origins
from proxycache.store.purge import Purge, Wanted
from proxycache.store.schema import _BORROWED, MIGRATIONS

HUB, OTHER = "docker.io/library/base", "docker.io/library/other"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER, MANIFEST, MINE = digest_of(b"layer"), digest_of(b"manifest"), digest_of(b"mine")


@pytest.fixture
def origins(database: Database) -> Origins:
    return Origins(database)


def origin(repository: str = HUB, *, size: int = 5, media_type: str = LAYER_TYPE, seen_at: float = 100.0) -> Origin:
    return Origin(digest=LAYER, repository=repository, size=size, media_type=media_type, seen_at=seen_at)


@pytest.mark.parametrize("order", [1, -1])
async def test_the_blob_tells_its_size_and_a_manifest_its_type(origins: Origins, order: int) -> None:
    by_blob, by_manifest = origin(size=7, media_type=BLOB_TYPE, seen_at=50.0), origin(size=7 if order == 1 else 5)

    for each in (by_blob, by_manifest)[::order]:
        await origins.record(each)

    assert await origins.list_origins(LAYER) == [origin(size=7)]


async def test_who_was_seen_last_is_named_first(origins: Origins) -> None:
    await origins.record(origin(seen_at=1.0), origin(OTHER, seen_at=2.0))
    assert [each.repository for each in await origins.list_origins(LAYER)] == [OTHER, HUB]

    await origins.confirm([origin()], now=3.0)
    assert [each.repository for each in await origins.list_origins(LAYER)] == [HUB, OTHER]

    await origins.confirm([origin()], now=1.5)  # the clock was set back
    await origins.forget(LAYER, OTHER)
    assert await origins.list_origins(LAYER) == [origin(seen_at=1.5)]


async def manifest_here(database: Database, *, linked_to: str | None) -> None:
    """Let there be a manifest that names LAYER."""
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO manifests VALUES (?, ?, 9, NULL, '', '{}')", (str(MANIFEST), MANIFEST_TYPE)
        )
        await connection.execute(
            "INSERT INTO manifest_references VALUES (?, ?, 5, ?)", (str(MANIFEST), str(LAYER), LAYER_TYPE)
        )
        if linked_to:
            await connection.execute("INSERT INTO links VALUES (?, ?)", (linked_to, str(MANIFEST)))


async def test_a_tag_tells_what_its_repository_has_but_not_that_it_was_seen(
    database: Database, origins: Origins
) -> None:
    await manifest_here(database, linked_to=OTHER)

    await origins.record_tag(HUB, MANIFEST)

    assert await origins.list_origins(LAYER) == [origin(seen_at=0.0)]
    await origins.record(origin())
    await origins.record_tag(HUB, MANIFEST)
    assert await origins.list_origins(LAYER) == [origin()]


async def test_what_was_only_pushed_here_says_nothing_of_an_upstream(database: Database, origins: Origins) -> None:
    await manifest_here(database, linked_to=None)

    await origins.record_tag(HUB, MANIFEST)

    assert await origins.list_origins(LAYER) == []


async def test_a_purge_of_a_repository_forgets_what_nobody_borrows_from_it(
    database: Database, origins: Origins
) -> None:
    lent = replace(origin(), digest=MINE)
    await origins.record(origin(), lent, origin(OTHER))
    await LocalContent(database).borrow("local/app", lent, now=1.0)

    await Purge(database).forget(Wanted(names=(HUB,)), is_dry=False)

    assert await origins.list_origins(LAYER) == [origin(OTHER)]
    assert await origins.list_origins(MINE) == [lent]


async def test_a_purge_of_a_part_of_a_repository_forgets_nothing(database: Database, origins: Origins) -> None:
    await origins.record(origin())

    for wanted in (Wanted(names=(HUB,), digest=LAYER), Wanted(names=(HUB,), used_before=1e12)):
        await Purge(database).forget(wanted, is_dry=False)

    assert await origins.list_origins(LAYER) == [origin()]


async def test_a_database_from_before_knows_who_had_what(layout: Layout) -> None:
    """By its manifests, and as never seen, so that the origin is asked before anybody relies on it."""
    before = MIGRATIONS.index(_BORROWED)
    with closing(sqlite3.connect(layout.database)) as connection:
        for statement in (each for step in MIGRATIONS[:before] for each in step):
            connection.execute(statement)
        connection.execute("INSERT INTO manifests VALUES (?, ?, 9, NULL, '', '{}')", (str(MANIFEST), MANIFEST_TYPE))
        for manifest in (MANIFEST, MINE):
            values = (str(manifest), str(LAYER), LAYER_TYPE)
            connection.execute("INSERT INTO manifest_references VALUES (?, ?, 5, ?)", values)
        connection.executemany("INSERT INTO links VALUES (?, ?)", [(HUB, str(MANIFEST)), (OTHER, str(MANIFEST))])
        connection.execute("INSERT INTO local_manifests VALUES ('local/app', ?, ?, 1)", (str(MINE), MANIFEST_TYPE))
        connection.execute(f"PRAGMA user_version = {before}")
        connection.commit()

    database = await Database.open(layout.database)
    try:
        known = await Origins(database).list_origins(LAYER)
    finally:
        await database.close()

    assert known == [origin(seen_at=0.0), origin(OTHER, seen_at=0.0)]
