"""What an upstream no longer has leaves last; what it gives again, or names elsewhere, leaves as all else does."""

import pytest

from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.manifests import ManifestRow
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow
from proxycache.store.usage import FIRST

NAME, OTHER = "docker.io/library/alpine", "docker.io/library/other"


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


def of(name: str) -> Digest:
    return digest_of(name.encode())


def row(name: str, *, worth: float = 1.0) -> BlobRow:
    return BlobRow(digest=of(name), size=4096, is_public=True, stored_at=1.0, worth=worth)


async def hold(tables: Tables, manifest: str, *parts: str) -> None:
    """Hold a manifest and all that it names; a part that is known as a manifest stays one."""
    for part in parts:
        await tables.links.record(row(part), repository=NAME)
    named = [Descriptor(media_type="l", digest=of(part), size=4096) for part in parts]
    facts = ManifestRow(digest=of(manifest), media_type="m", size=8)
    await tables.manifests.record(facts, named, row(manifest), repository=NAME)


async def tag(tables: Tables, tag: str, manifest: str, *, name: str = NAME, checked_at: float = 1.0) -> None:
    await tables.tags.record(
        TagRow(repository=name, tag=tag, digest=of(manifest), media_type="m", size=8, checked_at=checked_at)
    )


async def scarce(tables: Tables) -> set[Digest]:
    """Return what leaves last."""
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=10**9, most=1000)
    places = [candidate.place for candidate in chosen]
    assert places == sorted(places)
    return {candidate.digest for candidate in chosen if candidate.is_scarce}


async def test_all_that_only_a_gone_tag_is_made_of_is_scarce(tables: Tables) -> None:
    await hold(tables, "child", "config", "layer")
    await hold(tables, "index", "child")
    await tables.links.record(row("unrelated"), repository=NAME)
    await tag(tables, "1", "index")

    await tables.tags.remove(NAME, "1", checked_at=2.0)

    assert await scarce(tables) == {of("index"), of("child"), of("config"), of("layer")}


@pytest.mark.parametrize("name", [NAME, OTHER])
async def test_what_another_tag_names_is_not(tables: Tables, name: str) -> None:
    await hold(tables, "one", "base", "first")
    await hold(tables, "two", "base", "second")
    await hold(tables, "index", "two")
    await tag(tables, "1", "one")
    await tag(tables, "2", "index", name=name)

    await tables.tags.remove(NAME, "1", checked_at=2.0)

    assert await scarce(tables) == {of("one"), of("first")}


@pytest.mark.parametrize(("gone", "are_scarce"), [(["1"], False), (["1", "1.0"], True)])
async def test_the_last_tag_to_go_decides(tables: Tables, gone: list[str], *, are_scarce: bool) -> None:
    await hold(tables, "one", "layer")
    for each in ("1", "1.0"):
        await tag(tables, each, "one")

    for each in gone:
        await tables.tags.remove(NAME, each, checked_at=2.0)

    assert await scarce(tables) == ({of("one"), of("layer")} if are_scarce else set())


async def test_an_older_answer_makes_nothing_scarce(tables: Tables) -> None:
    await hold(tables, "one", "layer")
    await tag(tables, "1", "one", checked_at=5.0)

    await tables.tags.remove(NAME, "1", checked_at=4.0)

    assert await scarce(tables) == set()


async def test_a_gone_manifest_is_not_kept_by_tags_of_its_repository(tables: Tables) -> None:
    await hold(tables, "one", "base", "first")
    await hold(tables, "two", "base")
    await tag(tables, "1", "one")
    await tag(tables, "2", "two")

    await tables.manifests.note_gone(NAME, of("one"))

    assert await scarce(tables) == {of("one"), of("first")}


async def test_a_gone_manifest_that_another_repository_names_can_be_had_there(tables: Tables) -> None:
    await hold(tables, "one", "layer")
    await hold(tables, "index", "one")
    await tag(tables, "1", "index", name=OTHER)

    await tables.manifests.note_gone(NAME, of("one"))

    assert await scarce(tables) == set()


@pytest.mark.parametrize("how", ["its tag", "an index", "itself"])
async def test_what_is_given_again_is_not_scarce_any_more(tables: Tables, how: str) -> None:
    await hold(tables, "one", "layer")
    await tag(tables, "1", "one")
    await tables.tags.remove(NAME, "1", checked_at=2.0)

    if how == "its tag":
        await tag(tables, "1", "one", checked_at=3.0)
    else:
        name, parts = ("index", ["one"]) if how == "an index" else ("one", ["layer"])
        named = [Descriptor(media_type="m", digest=of(part), size=8) for part in parts]
        facts = ManifestRow(digest=of(name), media_type="m", size=8)
        await tables.manifests.record(facts, named, row(name), repository=OTHER)

    assert await scarce(tables) == set()


async def test_an_older_tag_that_comes_late_takes_nothing_back(tables: Tables) -> None:
    await hold(tables, "one", "layer")
    await hold(tables, "two")
    await tag(tables, "1", "one")
    await tables.tags.remove(NAME, "1", checked_at=2.0)
    await tag(tables, "1", "two", checked_at=5.0)

    await tag(tables, "1", "one", checked_at=1.5)

    assert await scarce(tables) == {of("one"), of("layer")}


async def test_a_blob_that_is_filled_again_is_not_and_the_others_stay_so(tables: Tables) -> None:
    await hold(tables, "one", "layer")
    await tag(tables, "1", "one")
    await tables.tags.remove(NAME, "1", checked_at=2.0)

    await tables.links.record(row("layer"), repository=NAME)

    assert await scarce(tables) == {of("one")}


async def test_scarce_blobs_leave_by_rank_among_themselves_and_after_all_others_however_they_are_used(
    tables: Tables,
) -> None:
    await hold(tables, "one", "used", "unused")
    await tables.links.record(row("precious", worth=1e13), repository=NAME)
    await tag(tables, "1", "one")
    await tables.tags.remove(NAME, "1", checked_at=2.0)

    await tables.usage.record_uses([of("used")], lambda *_: 0.5, now=5.0)
    await tables.usage.record_uses([of("precious")], lambda *_: 1e13, now=5.0)

    chosen, _ = await tables.usage.mark_leaving(FIRST, need=2 * 4096, most=10)
    assert [candidate.digest for candidate in chosen] == [of("precious"), of("used")]
    rest, _ = await tables.usage.mark_leaving(chosen[-1].place, need=10**6, most=10)
    assert {candidate.digest for candidate in rest} >= {of("unused"), of("one")}
