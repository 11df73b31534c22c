"""The order in which blobs leave, and who stays."""

import pytest

from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.manifests import ManifestRow
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow
from proxycache.store.usage import FIRST

NAME = "docker.io/library/alpine"


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


async def add(tables: Tables, name: str, *, worth: float, size: int = 4096) -> Digest:
    digest = digest_of(name.encode())
    row = BlobRow(digest=digest, size=size, is_public=True, stored_at=1.0, worth=worth)
    await tables.links.record(row, repository=NAME)
    return digest


async def leaving(tables: Tables, need: int) -> list[Digest]:
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=need, most=100)
    return [candidate.digest for candidate in chosen]


async def test_what_blobs_take_is_counted_in_blocks(tables: Tables) -> None:
    await add(tables, "a", worth=1.0, size=1)
    await add(tables, "b", worth=1.0, size=4097)
    await add(tables, "b", worth=1.0, size=4097)

    assert await tables.usage.cached_bytes() == 3 * 4096


async def test_the_lowest_rank_leaves_first_and_no_more_than_needed(tables: Tables) -> None:
    await add(tables, "high", worth=3.0)
    low, middle = await add(tables, "low", worth=1.0), await add(tables, "middle", worth=2.0)

    assert await leaving(tables, 5000) == [low, middle]


async def test_a_use_lifts_a_blob_above_the_level(tables: Tables) -> None:
    used, unused = await add(tables, "used", worth=1.0), await add(tables, "unused", worth=1.5)

    await tables.usage.record_uses([used], lambda _size, uses, _is_manifest: float(uses), now=5.0)

    assert await leaving(tables, 8192) == [unused, used]


async def test_uses_are_counted_and_dated_and_those_of_unknown_blobs_are_none(tables: Tables) -> None:
    used = await add(tables, "used", worth=1.0)

    await tables.usage.record_uses([used, digest_of(b"unknown")], lambda *_: 3.0, now=5.0)

    assert [(blob.digest, blob.uses, blob.used_at) for blob in await tables.usage.list_next(9)] == [(str(used), 2, 5.0)]


async def test_forgetting_gives_the_room_back_and_raises_the_level(tables: Tables) -> None:
    gone = await add(tables, "gone", worth=7.0)
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=1, most=10)

    await tables.usage.forget(chosen, lambda _: False, level=7.0)

    assert await tables.usage.cached_bytes() == 0
    assert not await tables.links.has(NAME, gone)
    later = await add(tables, "later", worth=1.0)
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=1, most=10)
    assert [(item.digest, item.rank) for item in chosen] == [(later, 8.0)]


async def test_what_somebody_marked_before_is_told_apart_from_what_is_chosen_now(tables: Tables) -> None:
    marked = await add(tables, "marked", worth=1.0)
    await leaving(tables, 1)
    other = await add(tables, "other", worth=0.5)

    assert [item.digest for item in await tables.usage.list_leaving()] == [marked]
    assert await leaving(tables, 8192) == [other]


async def test_the_search_goes_on_behind_what_was_chosen_and_stayed(tables: Tables) -> None:
    first, second = await add(tables, "first", worth=1.0), await add(tables, "second", worth=2.0)

    chosen, after = await tables.usage.mark_leaving(FIRST, need=1, most=10)
    assert after is not None
    more, _ = await tables.usage.mark_leaving(after, need=1, most=10)

    assert [item.digest for item in chosen + more] == [first, second]


async def test_what_is_smaller_than_a_block_gives_a_block(tables: Tables) -> None:
    first, second = await add(tables, "first", worth=1.0, size=100), await add(tables, "second", worth=2.0, size=100)
    await add(tables, "third", worth=3.0, size=100)

    assert await leaving(tables, 8192) == [first, second]


async def test_a_pin_holds_that_came_after_the_mark(tables: Tables) -> None:
    marked = await add(tables, "marked", worth=1.0)
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=1, most=1)
    assert (await tables.usage.is_leaving(marked), await tables.usage.choose_unneeded(chosen)) == (True, chosen)

    await tables.pins.add(NAME, "", now=1.0)

    assert (await tables.usage.is_leaving(marked), await tables.usage.choose_unneeded(chosen)) == (False, [])


async def test_what_is_read_stays_and_may_be_stored_again_while_it_leaves(tables: Tables) -> None:
    await add(tables, "read", worth=1.0)
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=1, most=10)

    await add(tables, "read", worth=1.0)
    await tables.usage.forget(chosen, lambda _: False, level=1.0)

    assert await tables.usage.cached_bytes() == 4096
    assert await tables.links.has(NAME, digest_of(b"read"))


async def test_what_is_filled_anew_ranks_as_what_was_never_here(tables: Tables) -> None:
    old, stray, rare = await add(tables, "old", worth=1.0), digest_of(b"stray"), await add(tables, "rare", worth=1.0)
    await tables.usage.record_uses([rare], lambda *_: 50.0, now=2.0)
    assert await leaving(tables, 1) == [old]
    await tables.usage.add_strays({stray: 4096}, now=1.0)
    await tables.usage.forget([], lambda _: False, level=5.0)

    for digest in (old, stray, rare):
        row = BlobRow(digest=digest, size=4096, is_public=False, stored_at=9.0, worth=2.0)
        await tables.links.record(row, repository=NAME)

    used = {row.digest: row.used_at for row in await tables.usage.list_next(9)}
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=3 * 4096, most=10)
    assert used == {str(old): 9.0, str(stray): 9.0, str(rare): 2.0}
    assert {item.digest: item.rank for item in chosen} == {old: 7.0, stray: 7.0, rare: 50.0}


async def test_a_pinned_tag_keeps_all_that_it_is_made_of(tables: Tables) -> None:
    layer, other = await add(tables, "layer", worth=1.0), await add(tables, "other", worth=2.0)
    manifest = digest_of(b"manifest")
    row = ManifestRow(digest=manifest, media_type="m", size=8)
    blob = BlobRow(digest=manifest, size=8, is_public=True, stored_at=1.0, worth=0.1)
    await tables.manifests.record(
        row, [Descriptor(media_type="l", digest=layer, size=4096)], blob, repository="docker.io/library/pinned"
    )
    await tables.tags.record(
        TagRow(repository="docker.io/library/pinned", tag="1", digest=manifest, media_type="m", size=8, checked_at=1.0)
    )

    await tables.pins.add("docker.io/library/pinned", "1", now=1.0)

    assert await leaving(tables, 100_000) == [other]
    assert await tables.pins.remove("docker.io/library/pinned", "1")
    assert set(await leaving(tables, 100_000)) == {layer, manifest}


async def test_where_to_go_on_is_told_even_if_all_of_a_batch_is_pinned(tables: Tables) -> None:
    await add(tables, "a", worth=1.0)
    await tables.pins.add(NAME, "", now=1.0)

    chosen, after = await tables.usage.mark_leaving(FIRST, need=1, most=1)
    assert (chosen, after is None) == ([], False)
    assert after is not None
    assert await tables.usage.mark_leaving(after, need=1, most=1) == ([], None)
    assert await tables.pins.list_pins() == [(NAME, "")]


async def test_what_is_pinned_or_owned_is_not_evictable(tables: Tables, database: Database) -> None:
    for name, size in (("pinned", 8192), ("free", 1), ("owned", 4096), ("owned and pinned", 4096)):
        await add(tables, name, worth=1.0, size=size)
    async with database.transaction() as connection:
        for name in ("pinned", "owned and pinned"):
            await connection.execute(
                "INSERT INTO tags VALUES ('r', ?, ?, '', 1, 1)", (name, str(digest_of(name.encode())))
            )
        for name in ("owned", "owned and pinned"):
            await connection.execute("UPDATE blobs SET is_owned = 1 WHERE digest = ?", (str(digest_of(name.encode())),))
    await tables.pins.add("r", "pinned", now=1.0)
    await tables.pins.add("r", "owned and pinned", now=1.0)

    assert await tables.usage.cached_bytes() == 3 * 4096
    assert await tables.usage.evictable_bytes() == 4096


async def test_what_is_pinned_is_looked_for_again_only_after_something_changed(
    tables: Tables, database: Database
) -> None:
    await add(tables, "a", worth=1.0, size=8192)
    asked: list[str] = []
    async with database.reading() as reader:
        await reader.set_trace_callback(asked.append)

    for _ in range(3):
        assert await tables.usage.evictable_bytes() == 8192

    assert sum("pins" in statement for statement in asked) == 1
    await tables.pins.add(NAME, "", now=1.0)
    assert await tables.usage.evictable_bytes() == 0
