"""What a purge forgets, and what stays."""

import pytest

from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.purge import Wanted
from proxycache.store.tables import Tables
from tests.unit.store.purging import (
    ALPINE,
    BASE,
    BUSYBOX,
    OWN,
    THIRD,
    add_image,
    add_manifest,
    add_tag,
    leaving,
    purge,
    use,
)


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


async def test_a_repository_goes_but_for_what_another_one_needs(tables: Tables) -> None:
    manifest = await add_image(tables, ALPINE, "1", BASE, OWN)
    await add_image(tables, BUSYBOX, "1", BASE)
    await tables.negatives.record(f"tag {ALPINE} 2", "gone", until=100.0, now=1.0)
    await tables.negatives.record(f"tag {ALPINE}-slim 2", "gone", until=100.0, now=1.0)
    await tables.documents.record(f"referrers {ALPINE} {manifest}", b"[1]", checked_at=1.0)
    await tables.repositories.record_visibility(ALPINE, is_public=True, checked_at=1.0)

    assert await purge(tables, Wanted(names=[ALPINE])) == {manifest, OWN}

    assert await tables.tags.list_tags(ALPINE) == []
    assert await tables.negatives.find(f"tag {ALPINE} 2", 2.0) is None
    assert await tables.negatives.find(f"tag {ALPINE}-slim 2", 2.0) == "gone"
    assert await tables.documents.find(f"referrers {ALPINE} {manifest}") is None
    assert await tables.repositories.find_visibility(ALPINE) is None
    assert await tables.repositories.list_names() == [BUSYBOX]


async def test_what_an_index_of_another_repository_is_made_of_stays(tables: Tables) -> None:
    child = await add_manifest(tables, ALPINE, "child", BASE)
    await add_tag(tables, BUSYBOX, "1", await add_manifest(tables, BUSYBOX, "index", child))

    assert await purge(tables, Wanted(names=[ALPINE])) == set()


async def test_a_manifest_that_is_not_held_needs_nothing(tables: Tables, database: Database) -> None:
    manifest = await add_image(tables, ALPINE, "1", BASE)
    evicted = await add_manifest(tables, BUSYBOX, "by digest", BASE)
    async with database.transaction() as connection:
        await connection.execute("DELETE FROM blobs WHERE digest = ?", (str(evicted),))
    assert await tables.links.has(BUSYBOX, evicted)

    assert await purge(tables, Wanted(names=[ALPINE])) == {manifest, BASE}


async def test_what_repositories_share_goes_with_the_last_of_them(tables: Tables) -> None:
    await add_image(tables, ALPINE, "1", BASE)
    last = await add_image(tables, BUSYBOX, "1", BASE)

    await purge(tables, Wanted(names=[ALPINE]))

    assert await purge(tables, Wanted(names=[BUSYBOX])) == {last, BASE}


async def test_what_repositories_share_goes_with_all_of_them(tables: Tables) -> None:
    manifests = {await add_image(tables, ALPINE, "1", BASE), await add_image(tables, BUSYBOX, "1", BASE)}

    assert await purge(tables, Wanted(names=[ALPINE, BUSYBOX])) == {*manifests, BASE}


async def test_a_tag_goes_with_what_only_it_is_made_of(tables: Tables) -> None:
    first = await add_image(tables, ALPINE, "1", BASE, OWN)
    await add_image(tables, ALPINE, "2", BASE)
    await tables.negatives.record(f"tag {ALPINE} 1", "gone", until=100.0, now=1.0)
    await tables.negatives.record(f"tag {ALPINE} 3", "gone", until=100.0, now=1.0)

    assert await purge(tables, Wanted(names=[ALPINE], is_tag="1".__eq__)) == {first, OWN}

    assert await tables.tags.list_tags(ALPINE) == ["2"]
    assert await tables.negatives.find(f"tag {ALPINE} 1", 2.0) is None
    assert await tables.negatives.find(f"tag {ALPINE} 3", 2.0) == "gone"


async def test_what_a_tag_and_another_repository_are_made_of_stays(tables: Tables) -> None:
    first = await add_image(tables, ALPINE, "1", BASE)
    await add_manifest(tables, BUSYBOX, "by digest", BASE)

    assert await purge(tables, Wanted(names=[ALPINE], is_tag="1".__eq__)) == {first}


async def test_many_tags_go_with_what_only_they_share(tables: Tables) -> None:
    manifests = {await add_image(tables, ALPINE, "1.0", BASE, OWN), await add_image(tables, BUSYBOX, "1.1", OWN)}
    await add_image(tables, ALPINE, "2.0", BASE)

    wanted = Wanted(names=[ALPINE, BUSYBOX], is_tag=lambda tag: tag.startswith("1."))

    assert await purge(tables, wanted) == {*manifests, OWN}
    assert await tables.tags.list_tags(ALPINE) == ["2.0"]


async def test_a_manifest_goes_by_digest_with_its_tags(tables: Tables) -> None:
    first = await add_image(tables, ALPINE, "1", BASE, OWN)
    await add_tag(tables, ALPINE, "latest", first)
    await add_tag(tables, BUSYBOX, "1", await add_manifest(tables, BUSYBOX, "other", BASE))
    for key in (f"manifest {ALPINE} {first}", f"blob {ALPINE} {first}", f"manifest {ALPINE} {OWN}"):
        await tables.negatives.record(key, "gone", until=100.0, now=1.0)

    assert await purge(tables, Wanted(names=[ALPINE], digest=first)) == {first, OWN}

    assert await tables.tags.list_tags(ALPINE) == []
    assert not await tables.links.has(ALPINE, first)
    assert await tables.negatives.find(f"manifest {ALPINE} {first}", 2.0) is None
    assert await tables.negatives.find(f"blob {ALPINE} {first}", 2.0) is None
    assert await tables.negatives.find(f"manifest {ALPINE} {OWN}", 2.0) == "gone"


async def test_a_blob_goes_by_digest_whatever_tags_of_its_repository_are_made_of_it(tables: Tables) -> None:
    await add_image(tables, ALPINE, "1", BASE, OWN)

    assert await purge(tables, Wanted(names=[ALPINE], digest=OWN)) == {OWN}

    assert await tables.tags.list_tags(ALPINE) == ["1"]


async def test_a_part_of_an_index_goes_alone_if_a_tag_needs_what_it_is_made_of(tables: Tables) -> None:
    child = await add_manifest(tables, ALPINE, "child", BASE)
    await add_tag(tables, ALPINE, "1", await add_manifest(tables, ALPINE, "index", child))

    assert await purge(tables, Wanted(names=[ALPINE], digest=child)) == {child}


@pytest.mark.parametrize("digest", [BASE, digest_of(b"shared")])
async def test_what_another_repository_needs_stays_though_it_was_named(tables: Tables, digest: Digest) -> None:
    shared = await add_manifest(tables, ALPINE, "shared", BASE)
    await add_tag(tables, ALPINE, "1", shared)
    await add_tag(tables, BUSYBOX, "1", await add_manifest(tables, BUSYBOX, "index", shared))

    assert await purge(tables, Wanted(names=[ALPINE], digest=digest)) == set()

    assert not await tables.links.has(ALPINE, digest)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(names=[ALPINE]),
        Wanted(names=[ALPINE], is_tag="1".__eq__),
        Wanted(names=[ALPINE], digest=digest_of(f"{ALPINE}:1".encode())),
        Wanted(names=[ALPINE], digest=OWN),
    ],
)
async def test_nothing_goes_where_a_part_is_pinned(tables: Tables, wanted: Wanted) -> None:
    await add_image(tables, ALPINE, "1", OWN)
    await add_image(tables, ALPINE, "2", BASE)
    await tables.pins.add(ALPINE, "1", now=1.0)

    purged = await tables.purge.forget(wanted, is_dry=False)

    assert purged.leaving == ()
    assert purged.pinned == (1 if wanted.digest == OWN else 2)
    assert await tables.tags.list_tags(ALPINE) == ["1", "2"]


async def test_a_pinned_tag_is_not_forgotten_though_another_tag_names_the_same(tables: Tables) -> None:
    await add_tag(tables, ALPINE, "latest", await add_image(tables, ALPINE, "1", OWN))
    await tables.pins.add(ALPINE, "1", now=1.0)

    pinned = await tables.purge.forget(Wanted(names=[ALPINE], is_tag="1".__eq__), is_dry=False)
    other = await tables.purge.forget(Wanted(names=[ALPINE], is_tag="latest".__eq__), is_dry=False)

    assert (pinned.pinned, other.pinned) == (1, 0)
    assert await tables.tags.list_tags(ALPINE) == ["1"]


async def test_what_is_pinned_is_spared(tables: Tables) -> None:
    pinned = await add_image(tables, ALPINE, "1", BASE)
    second = await add_image(tables, ALPINE, "2", BASE, OWN)
    await tables.pins.add(ALPINE, "1", now=1.0)

    purged = await tables.purge.forget(Wanted(names=[ALPINE], spares_pinned=True), is_dry=False)

    assert (leaving(purged), purged.pinned) == ({second, OWN}, 2)
    assert await tables.tags.list_tags(ALPINE) == ["1"]
    assert await tables.links.has(ALPINE, pinned)
    assert not await tables.links.has(ALPINE, second)


async def test_only_what_was_not_used_for_long_goes_of_a_repository(tables: Tables) -> None:
    old, recent = await add_image(tables, ALPINE, "1", OWN), await add_image(tables, ALPINE, "2", BASE, THIRD)
    await tables.negatives.record(f"tag {ALPINE} 3", "gone", until=100.0, now=1.0)
    await use(tables, recent, THIRD, at=50.0)

    assert await purge(tables, Wanted(names=[ALPINE], used_before=50.0)) == {old, OWN, BASE}

    assert await tables.tags.list_tags(ALPINE) == ["2"]
    assert await tables.links.has(ALPINE, THIRD)
    assert await tables.negatives.find(f"tag {ALPINE} 3", 2.0) == "gone"


async def test_a_tag_goes_if_its_manifest_was_not_used_for_long(tables: Tables) -> None:
    old, recent = await add_image(tables, ALPINE, "1", OWN, BASE), await add_image(tables, ALPINE, "2", THIRD)
    await use(tables, recent, BASE, at=50.0)

    assert await purge(tables, Wanted(names=[ALPINE], is_tag=lambda _: True, used_before=50.0)) == {old, OWN}

    assert await tables.tags.list_tags(ALPINE) == ["2"]


async def test_a_tag_whose_manifest_is_not_held_was_used_when_its_upstream_was_asked(tables: Tables) -> None:
    await add_tag(tables, ALPINE, "1", OWN)

    for used_before, left in ((1.0, ["1"]), (1.5, [])):
        await purge(tables, Wanted(names=[ALPINE], is_tag="1".__eq__, used_before=used_before))
        assert await tables.tags.list_tags(ALPINE) == left


async def test_a_digest_that_was_used_lately_stays_with_all_its_parts(tables: Tables) -> None:
    manifest = await add_manifest(tables, ALPINE, "by digest", OWN)
    await use(tables, manifest, at=50.0)

    assert await purge(tables, Wanted(names=[ALPINE], digest=manifest, used_before=50.0)) == set()
    assert await purge(tables, Wanted(names=[ALPINE], digest=manifest, used_before=51.0)) == {manifest, OWN}


async def test_what_was_pushed_here_stays(tables: Tables, database: Database) -> None:
    manifest = await add_image(tables, ALPINE, "1", OWN)
    async with database.transaction() as connection:
        await connection.execute("UPDATE blobs SET is_owned = 1 WHERE digest = ?", (str(OWN),))

    assert await purge(tables, Wanted(names=[ALPINE])) == {manifest}


async def test_what_was_pushed_here_needs_nothing_that_it_borrows(tables: Tables, database: Database) -> None:
    manifest = await add_image(tables, ALPINE, "1", BASE)
    app = await add_image(tables, "local/app", "1", BASE)
    async with database.transaction() as connection:
        await connection.execute("UPDATE blobs SET is_owned = 1 WHERE digest = ?", (str(app),))
        await connection.execute("DELETE FROM links WHERE digest = ?", (str(app),))
        await connection.execute("INSERT INTO local_manifests VALUES ('local/app', ?, 'm', 1.0)", (str(app),))

    assert await purge(tables, Wanted(names=[ALPINE])) == {manifest, BASE}


async def test_a_purge_tells_what_it_forgets(tables: Tables) -> None:
    await add_image(tables, ALPINE, "1", OWN)
    await add_image(tables, BUSYBOX, "1", OWN)
    names = [ALPINE, BUSYBOX]

    tags = await tables.purge.forget(Wanted(names=names, is_tag="1".__eq__), is_dry=True)
    repositories = await tables.purge.forget(Wanted(names=names), is_dry=True)

    assert tags.forgotten == [f"{ALPINE}:1", f"{BUSYBOX}:1"]
    assert repositories.forgotten == names


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(names=[]),
        Wanted(names=[BUSYBOX]),
        Wanted(names=[ALPINE], is_tag="2".__eq__),
        Wanted(names=[ALPINE], digest=digest_of(b"no such thing")),
    ],
)
async def test_what_is_not_here_is_told_from_what_was_used_lately(tables: Tables, wanted: Wanted) -> None:
    await add_image(tables, ALPINE, "1", OWN)

    assert not (await tables.purge.forget(wanted, is_dry=False)).is_known
    assert (await tables.purge.forget(Wanted(names=[ALPINE], used_before=0.5), is_dry=False)).is_known


async def test_what_nobody_has_a_link_to_and_what_was_not_found_is_known_too(tables: Tables) -> None:
    await add_image(tables, ALPINE, "1", BASE)
    await add_image(tables, BUSYBOX, "1", BASE)
    await purge(tables, Wanted(names=[ALPINE]))
    await tables.negatives.record(f"tag {BUSYBOX} 2", "gone", until=100.0, now=1.0)

    shared = await tables.purge.forget(Wanted(names=[BUSYBOX], digest=BASE), is_dry=True)
    absent = await tables.purge.forget(Wanted(names=[BUSYBOX], is_tag="2".__eq__), is_dry=True)

    assert (shared.is_known, leaving(shared)) == (True, {BASE})
    assert (absent.is_known, leaving(absent)) == (True, set())
