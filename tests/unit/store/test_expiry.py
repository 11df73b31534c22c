"""What the ledger was told long ago goes, unless something needs it, and with it what manifests said that are gone."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from proxycache.oci import media_types
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store import expiry
from proxycache.store.database import Database
from proxycache.store.expiry import KEEP_SECONDS
from proxycache.store.layout import Layout
from proxycache.store.links import BlobRow
from proxycache.store.local_push import ManifestPush
from proxycache.store.manifests import ManifestRow
from proxycache.store.origins import Origin
from proxycache.store.schema import _AGES_OF_ORIGINS, MIGRATIONS
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow
from proxycache.store.usage import FIRST, Candidate

HUB, OTHER = "docker.io/library/base", "docker.io/library/other"
LAYER, CHILD, INDEX = digest_of(b"layer"), digest_of(b"child"), digest_of(b"index")
START = 1_000_000.0
OLD = START + KEEP_SECONDS + 1
ORIGIN = Origin(digest=LAYER, repository=HUB, size=5, media_type="layer", seen_at=START)


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


async def pulled(tables: Tables, digest: Digest, named: Sequence[Digest], *, repository: str = HUB) -> None:
    """Let a manifest come through for an upstream's repository, and be held."""
    await tables.manifests.record(
        ManifestRow(digest=digest, media_type=media_types.OCI_MANIFEST, size=9),
        [Descriptor(media_type="any", digest=each, size=5) for each in named],
        BlobRow(digest=digest, size=9, is_public=True, stored_at=START),
        repository=repository,
    )


async def evicted(tables: Tables, *digests: Digest) -> None:
    await tables.usage.mark_leaving(FIRST, need=2**40, most=len(digests))
    await tables.usage.forget([Candidate(digest=each, size=9, rank=0.0) for each in digests], lambda _: False)


async def image_that_is_gone(tables: Tables) -> None:
    """Let there have been an index of an image, of which nothing is here any more."""
    await pulled(tables, CHILD, [LAYER])
    await pulled(tables, INDEX, [CHILD])
    await evicted(tables, CHILD, INDEX)


async def known(tables: Tables, repository: str = HUB) -> set[Digest]:
    """Return of what the ledger says that the repository has it."""
    found = {digest: await tables.origins.list_origins(digest) for digest in (LAYER, CHILD, INDEX)}
    return {digest for digest, origins in found.items() if repository in {each.repository for each in origins}}


async def rows(database: Database) -> tuple[int, ...]:
    """Count manifests, what they reference, and links."""
    names = ("manifests", "manifest_references", "links")
    counts = [await database.fetch(f"SELECT count(*) FROM {name}") for name in names]
    return tuple(count for ((count,),) in counts)


async def test_an_entry_goes_when_it_was_not_noted_for_long_enough(tables: Tables) -> None:
    await tables.origins.record(ORIGIN)

    assert await tables.expiry.expire(now=OLD - 1) == 0
    assert await known(tables) == {LAYER}
    assert await tables.expiry.expire(now=OLD) == 1
    assert await known(tables) == set()


@pytest.mark.parametrize("how", ["record", "confirm"])
async def test_what_is_noted_again_stays_as_long_again(tables: Tables, how: str) -> None:
    await tables.origins.record(ORIGIN, replace(ORIGIN, repository=OTHER))
    if how == "record":
        await tables.origins.record(replace(ORIGIN, seen_at=START + 10))
    else:
        await tables.origins.confirm([ORIGIN], now=START + 10)

    assert await tables.expiry.expire(now=OLD + 9) == 1
    assert (await known(tables), await known(tables, OTHER)) == ({LAYER}, set())
    assert await tables.expiry.expire(now=OLD + 10) == 1


async def test_what_is_borrowed_stays_while_it_is(database: Database, tables: Tables) -> None:
    await tables.origins.record(ORIGIN, replace(ORIGIN, repository=OTHER))
    await tables.local_content.borrow("local/app", ORIGIN, now=START)

    await tables.expiry.expire(now=OLD)

    assert (await known(tables), await known(tables, OTHER)) == ({LAYER}, set())
    async with database.transaction() as connection:
        await connection.execute("DELETE FROM borrowed_links")
    await tables.expiry.expire(now=OLD + KEEP_SECONDS)
    assert await known(tables) == {LAYER}
    await tables.expiry.expire(now=OLD + KEEP_SECONDS + 1)
    assert await known(tables) == set()


async def test_what_a_base_is_made_of_stays_while_it_is_looked_after(database: Database, tables: Tables) -> None:
    await image_that_is_gone(tables)
    await tables.bases.note_learnt(f"{HUB}:1", INDEX, now=START)

    await tables.expiry.expire(now=OLD)
    kept = await known(tables), await rows(database)
    await tables.bases.remove(f"{HUB}:1")
    await tables.expiry.expire(now=OLD + KEEP_SECONDS + 1)

    assert kept == ({LAYER, CHILD, INDEX}, (2, 2, 2))
    assert (await known(tables), await rows(database)) == (set(), (0, 0, 0))


async def test_what_is_here_and_what_it_names_stay_known(tables: Tables) -> None:
    await pulled(tables, CHILD, [LAYER])
    await pulled(tables, INDEX, [CHILD], repository=OTHER)
    await tables.origins.record(replace(ORIGIN, repository=OTHER))

    await tables.expiry.expire(now=OLD)

    assert await known(tables) == {LAYER, CHILD}
    assert await known(tables, OTHER) == {CHILD, INDEX}


async def test_what_was_noted_without_a_time_has_its_time_from_the_first_look(tables: Tables) -> None:
    await tables.origins.record(replace(ORIGIN, seen_at=0.0))

    assert await tables.expiry.expire(now=OLD) == 0
    assert await tables.expiry.expire(now=OLD + KEEP_SECONDS) == 0
    assert await tables.expiry.expire(now=OLD + KEEP_SECONDS + 1) == 1


async def test_it_goes_on_until_nothing_is_old(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "_MOST_AT_ONCE", 2)
    layers = [digest_of(str(number).encode()) for number in range(5)]
    await tables.origins.record(*(replace(ORIGIN, digest=each) for each in layers))
    await tables.local_content.borrow("local/app", replace(ORIGIN, digest=layers[0]), now=START)

    assert await tables.expiry.expire(now=OLD) == 4


async def test_of_a_manifest_that_is_gone_and_forgotten_nothing_is_kept(database: Database, tables: Tables) -> None:
    await image_that_is_gone(tables)
    assert await rows(database) == (2, 2, 2)

    await tables.expiry.expire(now=OLD)

    assert await rows(database) == (0, 0, 0)


async def test_a_child_that_was_forgotten_before_its_index_goes_with_it(database: Database, tables: Tables) -> None:
    await image_that_is_gone(tables)
    await tables.origins.record(replace(ORIGIN, digest=INDEX, seen_at=START + 10))

    await tables.expiry.expire(now=OLD)
    before = await rows(database)
    await tables.expiry.expire(now=OLD + 10)

    assert (before, await rows(database)) == ((2, 2, 2), (0, 0, 0))


async def test_what_a_tag_names_stays(database: Database, tables: Tables) -> None:
    await image_that_is_gone(tables)
    await tables.tags.record(TagRow(repository=HUB, tag="1", digest=INDEX, media_type="any", size=9, checked_at=START))

    await tables.expiry.expire(now=OLD)

    assert await rows(database) == (2, 2, 2)


async def test_what_was_pushed_here_too_stays(database: Database, tables: Tables) -> None:
    await image_that_is_gone(tables)
    row = ManifestRow(digest=CHILD, media_type=media_types.OCI_MANIFEST, size=9)
    push = ManifestPush(repository="local/app", row=row, references=[], needed=[], pushed_at=START)
    assert await tables.local_content.record_manifest(push) == []
    async with database.transaction() as connection:  # and even if its bytes are lost
        await connection.execute("DELETE FROM blobs")

    await tables.expiry.expire(now=OLD)

    assert (await rows(database))[:2] == (1, 1)


async def test_what_is_here_stays_though_nobody_is_known_to_have_it(database: Database, tables: Tables) -> None:
    await pulled(tables, CHILD, [LAYER])
    await tables.origins.forget(CHILD, HUB)
    await tables.origins.record(replace(ORIGIN, digest=CHILD, repository=OTHER))

    assert await tables.expiry.expire(now=OLD) == 1

    assert await rows(database) == (1, 1, 1)


async def test_a_database_from_before_forgets_nothing_at_once_and_learns_its_bases_anew(layout: Layout) -> None:
    before = MIGRATIONS.index(_AGES_OF_ORIGINS)
    with closing(sqlite3.connect(layout.database)) as connection:
        for statement in (each for step in MIGRATIONS[:before] for each in step):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO origins (digest, repository, size, media_type, seen_at) VALUES (?, ?, 5, 'layer', 1)",
            (str(LAYER), HUB),
        )
        connection.execute("INSERT INTO learnt_bases VALUES (?, ?, 1)", (f"{HUB}:1", str(INDEX)))
        connection.execute(f"PRAGMA user_version = {before}")
        connection.commit()

    database = await Database.open(layout.database)
    try:
        tables = Tables.of(database)
        assert await tables.bases.find_learnt(f"{HUB}:1") is None
        assert await tables.expiry.expire(now=OLD) == 0
        assert await known(tables) == {LAYER}
        assert await tables.expiry.expire(now=OLD + KEEP_SECONDS + 1) == 1
    finally:
        await database.close()
