from dataclasses import replace

import pytest

from proxycache.oci import media_types
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.local_content import Removal
from proxycache.store.local_push import ManifestPush, Means, Needed
from proxycache.store.manifests import ManifestRow
from proxycache.store.tables import Tables
from proxycache.store.usage import FIRST

APP, OTHER, HUB = "local/app", "local/other", "docker.io/library/base"
CONFIG, LAYER, CHILD, INDEX = (digest_of(name) for name in (b"config", b"layer", b"child", b"index"))


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


def blob(digest: Digest) -> Descriptor:
    return Descriptor(media_type="application/octet-stream", digest=digest, size=5)


def child(digest: Digest) -> Descriptor:
    return Descriptor(media_type=media_types.OCI_MANIFEST, digest=digest, size=5)


def push_of(digest: Digest, *references: Descriptor, repository: str = APP, tags: tuple[str, ...] = ()) -> ManifestPush:
    return ManifestPush(
        repository=repository,
        row=ManifestRow(digest=digest, media_type=media_types.OCI_MANIFEST, size=7),
        references=references,
        needed=[Needed(item.digest, item.media_type == media_types.OCI_MANIFEST) for item in references],
        tags=tags,
        pushed_at=100.0,
    )


async def cache(tables: Tables, digest: Digest, *, is_public: bool = True) -> None:
    row = BlobRow(digest=digest, size=5, is_public=is_public, stored_at=1.0)
    await tables.links.record(row, repository=HUB)


async def evictable(tables: Tables) -> list[Digest]:
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=2**40, most=100)
    for candidate in chosen:
        await tables.usage.unmark(candidate.digest)
    return [candidate.digest for candidate in chosen]


async def test_a_pushed_blob_is_owned_and_of_its_repository_only(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)

    assert await tables.local_content.has_link(APP, LAYER)
    assert not await tables.local_content.has_link(OTHER, LAYER)
    assert await evictable(tables) == []
    assert await tables.usage.cached_bytes() == 0


async def test_what_was_cached_and_is_pushed_leaves_the_budget(tables: Tables) -> None:
    await cache(tables, LAYER)
    assert await tables.usage.cached_bytes() == 4096

    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)

    assert await tables.usage.cached_bytes() == 0
    assert await evictable(tables) == []


async def test_a_manifest_and_its_tags_appear_together(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, CONFIG, 5, now=100.0)

    assert await tables.local_content.record_manifest(push_of(CHILD, blob(CONFIG), tags=("1", "latest"))) == []

    found = await tables.local_content.find_manifest(APP, CHILD)
    assert found is not None
    assert (found.media_type, found.size) == (media_types.OCI_MANIFEST, 7)
    assert await tables.tags.list_tags(APP) == ["1", "latest"]


async def test_an_incomplete_manifest_names_all_that_is_missing_and_changes_nothing(tables: Tables) -> None:
    await tables.local_content.record_manifest(push_of(CHILD, tags=("1",)))

    missing = await tables.local_content.record_manifest(push_of(INDEX, blob(CONFIG), child(LAYER), tags=("1",)))

    assert set(missing) == {CONFIG, LAYER}
    tag = await tables.tags.find(APP, "1")
    assert tag is not None
    assert tag.digest == CHILD
    assert await tables.local_content.find_manifest(APP, INDEX) is None


async def test_a_blob_is_no_manifest_though_it_has_the_digest(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, CHILD, 5, now=100.0)

    assert await tables.local_content.record_manifest(push_of(INDEX, child(CHILD))) == [CHILD]
    assert await tables.local_content.find_manifest(APP, CHILD) is None


async def test_a_sparse_push_takes_what_is_there(tables: Tables) -> None:
    await cache(tables, LAYER)
    push = replace(
        push_of(CHILD, blob(CONFIG), blob(LAYER)), means=Means(granted=frozenset({LAYER, CONFIG})), is_sparse=True
    )

    assert await tables.local_content.record_manifest(push) == []

    assert await tables.local_content.has_link(APP, LAYER)
    assert not await tables.local_content.has_link(APP, CONFIG)


async def test_what_is_cached_and_granted_becomes_owned_with_the_push(tables: Tables) -> None:
    await cache(tables, LAYER)
    push = push_of(CHILD, blob(LAYER))

    assert await tables.local_content.record_manifest(push) == [LAYER]
    assert await tables.local_content.record_manifest(replace(push, means=Means(granted=frozenset({LAYER})))) == []

    assert await evictable(tables) == []
    assert await tables.usage.cached_bytes() == 0


async def test_what_is_about_to_be_evicted_is_not_taken_in(tables: Tables) -> None:
    await cache(tables, LAYER)
    await tables.usage.mark_leaving(FIRST, need=1, most=1)

    push = replace(push_of(CHILD, blob(LAYER)), means=Means(granted=frozenset({LAYER})))

    assert await tables.local_content.record_manifest(push) == [LAYER]
    assert not await tables.local_content.mount(APP, LAYER, now=100.0)


async def test_a_child_from_elsewhere_comes_with_all_that_it_needs(tables: Tables) -> None:
    await tables.local_content.link_blob(OTHER, CONFIG, 5, now=100.0)
    await tables.local_content.record_manifest(push_of(CHILD, blob(CONFIG), repository=OTHER))

    push = push_of(INDEX, child(CHILD))
    assert await tables.local_content.record_manifest(replace(push, means=Means(granted=frozenset({CHILD})))) == [
        CONFIG
    ]
    assert (
        await tables.local_content.record_manifest(replace(push, means=Means(granted=frozenset({CHILD, CONFIG})))) == []
    )

    assert await tables.local_content.find_manifest(APP, CHILD) is not None
    assert await tables.local_content.has_link(APP, CONFIG)


async def test_a_repository_has_its_own_media_type_of_a_manifest(tables: Tables) -> None:
    push = push_of(CHILD)
    await tables.local_content.record_manifest(push)
    docker = replace(push.row, media_type=media_types.DOCKER_MANIFEST)

    await tables.local_content.record_manifest(replace(push, repository=OTHER, row=docker))

    found = [await tables.local_content.find_manifest(name, CHILD) for name in (APP, OTHER)]
    assert [manifest.media_type for manifest in found if manifest] == [
        media_types.OCI_MANIFEST,
        media_types.DOCKER_MANIFEST,
    ]


async def test_what_a_manifest_names_is_not_deleted(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, CONFIG, 5, now=100.0)
    await tables.local_content.record_manifest(push_of(CHILD, blob(CONFIG)))
    await tables.local_content.record_manifest(push_of(INDEX, child(CHILD), tags=("1",)))

    assert await tables.local_content.remove_blob(APP, CONFIG) is Removal.NEEDED
    assert await tables.local_content.remove_manifest(APP, CHILD, now=200.0) is Removal.NEEDED

    assert await tables.local_content.remove_manifest(APP, INDEX, now=200.0) is Removal.DONE
    assert await tables.tags.find(APP, "1") is None
    assert await tables.local_content.remove_manifest(APP, CHILD, now=200.0) is Removal.DONE
    assert await tables.local_content.remove_blob(APP, CONFIG) is Removal.DONE
    assert await tables.local_content.remove_blob(APP, CONFIG) is Removal.UNKNOWN


async def test_another_repository_s_manifest_protects_nothing_here(tables: Tables) -> None:
    for repository in (APP, OTHER):
        await tables.local_content.link_blob(repository, CONFIG, 5, now=100.0)
    await tables.local_content.record_manifest(push_of(CHILD, blob(CONFIG), repository=OTHER))

    assert await tables.local_content.remove_blob(APP, CONFIG) is Removal.DONE
    assert await tables.local_content.has_link(OTHER, CONFIG)


async def test_a_tag_is_deleted_and_its_manifest_stays(tables: Tables) -> None:
    await tables.local_content.record_manifest(push_of(CHILD, tags=("1", "2")))

    assert await tables.local_content.remove_tag(APP, "1") is Removal.DONE
    assert await tables.local_content.remove_tag(APP, "1") is Removal.UNKNOWN

    assert await tables.tags.list_tags(APP) == ["2"]
    assert await tables.local_content.find_manifest(APP, CHILD) is not None


async def test_referrers_come_in_pages_and_by_type(tables: Tables) -> None:
    digests = sorted(digest_of(bytes([number])) for number in range(5))
    for number, digest in enumerate(digests):
        push = push_of(digest)
        row = replace(push.row, subject=INDEX, artifact_type="a/sig" if number % 2 else "a/sbom")
        await tables.local_content.record_manifest(replace(push, row=row))

    async def page(artifact_type: str, n: int, last: str, name: str = APP) -> list[Digest]:
        rows = tables.local_content.iterate_referrers(name, INDEX, artifact_type, n=n, last=last)
        return [row.digest async for row in rows]

    assert await page("", 2, "") == digests[:2]
    assert await page("", 9, str(digests[1])) == digests[2:]
    assert await page("a/sig", 9, "") == [digests[1], digests[3]]
    assert await page("", 9, "", OTHER) == []


async def test_the_catalog_names_what_was_pushed(tables: Tables) -> None:
    await tables.local_content.record_manifest(push_of(CHILD))

    assert await tables.repositories.list_names() == [APP]


async def test_a_promise_for_what_is_gone_is_none(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    assert await tables.local_content.renew_link(APP, LAYER, now=200.0)
    await tables.local_content.remove_blob(APP, LAYER)

    assert not await tables.local_content.renew_link(APP, LAYER, now=300.0)
    assert not await tables.local_content.has_link(APP, LAYER)


async def test_bytes_that_are_granted_are_no_manifest_unless_they_are_known_as_one(tables: Tables) -> None:
    await tables.local_content.link_blob(OTHER, CHILD, 5, now=100.0)

    push = replace(push_of(INDEX, child(CHILD)), means=Means(granted=frozenset({CHILD})))

    assert await tables.local_content.record_manifest(push) == [CHILD]
    assert await tables.local_content.find_manifest(APP, INDEX) is None


async def test_what_tells_no_type_is_taken_in_as_what_it_is(tables: Tables) -> None:
    await tables.local_content.link_blob(OTHER, CONFIG, 5, now=100.0)
    await tables.local_content.record_manifest(push_of(CHILD, blob(CONFIG), repository=OTHER))
    push = push_of(INDEX, blob(CHILD), blob(CONFIG))
    either = [Needed(digest, is_manifest=None) for digest in (CHILD, CONFIG)]

    push = replace(push, needed=either, means=Means(granted=frozenset({CHILD, CONFIG})))

    assert await tables.local_content.record_manifest(push) == []
    assert await tables.local_content.find_manifest(APP, CHILD) is not None
    assert await tables.local_content.has_link(APP, CONFIG)


async def test_a_manifest_that_is_not_there_cannot_be_needed(tables: Tables) -> None:
    await tables.local_content.record_manifest(replace(push_of(INDEX, child(CHILD)), is_sparse=True))

    assert await tables.local_content.remove_manifest(APP, CHILD, now=200.0) is Removal.UNKNOWN
