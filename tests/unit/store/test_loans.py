from proxycache.oci import media_types
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.loans import LocalUse
from proxycache.store.local_push import ManifestPush, Means, Needed
from proxycache.store.manifests import ManifestRow
from proxycache.store.origins import Origin
from proxycache.store.tables import Tables

APP, OTHER, HUB, TWIN = "local/app", "local/other", "docker.io/library/base", "docker.io/library/twin"
LAYER, CONFIG, IMAGE, SECOND = (digest_of(name) for name in (b"layer", b"config", b"image", b"second"))
ORIGIN = Origin(digest=LAYER, repository=HUB, size=50, media_type="layer", seen_at=1.0)


async def push(tables: Tables, manifest: Digest = IMAGE, repository: str = APP, tag: str = "1") -> None:
    """Push an image that owns its config and borrows its layer."""
    references = [Descriptor(media_type="any", digest=digest, size=5) for digest in (CONFIG, LAYER)]
    await tables.local_content.link_blob(repository, CONFIG, 5, now=1.0)
    missing = await tables.local_content.record_manifest(
        ManifestPush(
            repository=repository,
            row=ManifestRow(digest=manifest, media_type=media_types.OCI_MANIFEST, size=7),
            references=references,
            needed=[Needed(item.digest, is_manifest=False) for item in references],
            means=Means(borrowed={LAYER: ORIGIN}),
            tags=(tag,),
            pushed_at=100.0,
        )
    )
    assert missing == []


async def hold(tables: Tables) -> None:
    """Have the layer cached."""
    row = BlobRow(digest=LAYER, size=50, is_public=True, stored_at=1.0)
    await tables.links.record(row, repository=HUB)


async def who_borrows(tables: Tables) -> list[str]:
    return [each.repository for each in await tables.loans.list_needed()]


async def test_what_is_not_held_cannot_be_adopted(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)

    assert not await tables.loans.adopt(APP, LAYER, now=2.0)
    await hold(tables)
    assert await tables.loans.adopt(APP, LAYER, now=2.0)

    assert await who_borrows(tables) == []
    assert await tables.local_content.has_link(APP, LAYER)
    assert await tables.loans.list_use() == [LocalUse(name=APP, owned_bytes=62, borrowed_bytes=0, cached_bytes=0)]


async def test_one_repository_adopts_for_itself_only(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await push(tables, repository=OTHER)
    await hold(tables)

    assert await tables.loans.adopt(APP, LAYER, now=2.0)

    assert await who_borrows(tables) == [OTHER]
    assert not await tables.local_content.has_link(OTHER, LAYER)


async def test_a_blob_that_is_not_borrowed_any_more_is_not_linked_by_adopting_it(database: Database) -> None:
    tables = Tables.of(database)
    await hold(tables)

    assert await tables.loans.adopt(APP, LAYER, now=2.0)

    assert not await tables.local_content.has_link(APP, LAYER)


async def test_only_what_is_owned_is_lent(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)

    assert not await tables.loans.lend(OTHER, ORIGIN, now=2.0)

    assert await who_borrows(tables) == [APP]
    assert await tables.loans.list_of(OTHER) == []


async def test_lending_gives_back_what_adopting_took(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await hold(tables)
    before = await tables.usage.cached_bytes()
    await tables.loans.adopt(APP, LAYER, now=2.0)
    between = await tables.usage.cached_bytes()
    revoked = database.revocations()

    assert await tables.loans.lend(APP, ORIGIN, now=3.0)

    assert (before, between, await tables.usage.cached_bytes()) == (4096, 0, 4096)
    assert database.revocations() > revoked
    assert await tables.loans.list_use() == [LocalUse(name=APP, owned_bytes=12, borrowed_bytes=50, cached_bytes=50)]


async def test_loans_are_those_of_the_tag(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    row = ManifestRow(digest=SECOND, media_type=media_types.OCI_MANIFEST, size=7)
    await tables.local_content.record_manifest(
        ManifestPush(repository=APP, row=row, references=[], needed=[], tags=("2",), pushed_at=1.0)
    )

    found = {tag: [each.digest for each in await tables.loans.list_of(APP, tag)] for tag in ("", "1", "2", "3")}

    assert found == {"": [LAYER], "1": [LAYER], "2": [], "3": []}
    assert [await tables.loans.is_known(APP, tag) for tag in ("", "1", "2", "3")] == [True, True, True, False]
    assert await tables.loans.list_manifests(APP, "1") == [(IMAGE, media_types.OCI_MANIFEST)]
    assert len(await tables.loans.list_manifests(APP)) == 2


async def test_a_pinned_repository_or_tag_names_its_loans(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await push(tables, repository=OTHER)

    await tables.pins.add(APP, "other", now=1.0)
    assert await tables.loans.list_pinned() == []
    await tables.pins.add(OTHER, "", now=1.0)
    assert [each.repository for each in await tables.loans.list_pinned()] == [OTHER]
    await tables.pins.add(APP, "1", now=1.0)
    assert [each.repository for each in await tables.loans.list_pinned()] == [APP, OTHER]


async def test_a_loan_without_a_manifest_is_nobodys_need(database: Database) -> None:
    tables = Tables.of(database)
    await tables.local_content.borrow(APP, ORIGIN, now=1.0)

    assert await who_borrows(tables) == []
    assert len(await tables.loans.list_of(APP)) == 1


async def test_a_moved_loan_is_the_other_origins(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    other = Origin(digest=LAYER, repository=TWIN, size=50, media_type="layer", seen_at=1.0)

    await tables.loans.move(LAYER, HUB, other, now=2.0)

    assert await tables.loans.list_borrowers(LAYER, HUB) == []
    assert await tables.loans.list_borrowers(LAYER, TWIN) == [APP]
