"""What a purge forgets, and what stays."""

import pytest

from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.manifests import ManifestRow
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow

ALPINE, BUSYBOX = "docker.io/library/alpine", "docker.io/library/busybox"
BASE, OWN = digest_of(b"base"), digest_of(b"own")


def blob_of(digest: Digest) -> BlobRow:
    return BlobRow(digest=digest, size=10, is_public=True, stored_at=1.0)


async def add_image(tables: Tables, name: str, tag: str, *layers: Digest) -> Digest:
    """Hold an image; as for public content, only the first repository that pulled a layer has a link to it."""
    manifest = digest_of(f"{name}:{tag}".encode())
    for layer in layers:
        if await tables.links.find(layer) is None:
            await tables.links.record(blob_of(layer), repository=name)
    references = [Descriptor(media_type="l", digest=layer, size=10) for layer in layers]
    row = ManifestRow(digest=manifest, media_type="m", size=10)
    await tables.manifests.record(row, references, blob_of(manifest), repository=name)
    await tables.tags.record(TagRow(repository=name, tag=tag, digest=manifest, media_type="m", size=10, checked_at=1.0))
    return manifest


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


async def test_a_repository_goes_but_for_what_another_one_needs(tables: Tables) -> None:
    manifest = await add_image(tables, ALPINE, "1", BASE, OWN)
    await add_image(tables, BUSYBOX, "1", BASE)
    await tables.negatives.record(f"tag {ALPINE} 2", "gone", until=100.0, now=1.0)
    await tables.negatives.record(f"tag {ALPINE}-slim 2", "gone", until=100.0, now=1.0)

    purged = await tables.purge.forget_repository(ALPINE, is_dry=False)

    assert {item.digest for item in purged.leaving} == {manifest, OWN}
    assert await tables.tags.list_tags(ALPINE) == []
    assert await tables.negatives.find(f"tag {ALPINE} 2", 2.0) is None
    assert await tables.negatives.find(f"tag {ALPINE}-slim 2", 2.0) == "gone"
    assert await tables.repositories.list_names() == [BUSYBOX]


async def test_a_tag_goes_with_what_only_it_is_made_of(tables: Tables) -> None:
    first = await add_image(tables, ALPINE, "1", BASE, OWN)
    await add_image(tables, ALPINE, "2", BASE)

    purged = await tables.purge.forget_tag(ALPINE, "1", is_dry=False)

    assert {item.digest for item in purged.leaving} == {first, OWN}
    assert await tables.tags.list_tags(ALPINE) == ["2"]


async def test_nothing_goes_where_a_part_is_pinned(tables: Tables) -> None:
    await add_image(tables, ALPINE, "1", OWN)
    await add_image(tables, ALPINE, "2", BASE)
    await tables.pins.add(ALPINE, "1", now=1.0)

    purged = await tables.purge.forget_repository(ALPINE, is_dry=False)

    assert (purged.leaving, purged.pinned) == ([], 2)
    assert await tables.tags.list_tags(ALPINE) == ["1", "2"]


async def test_a_dry_run_changes_nothing(tables: Tables) -> None:
    manifest = await add_image(tables, ALPINE, "1", OWN)

    for purged in (
        await tables.purge.forget_tag(ALPINE, "1", is_dry=True),
        await tables.purge.forget_repository(ALPINE, is_dry=True),
    ):
        assert {item.digest for item in purged.leaving} == {manifest, OWN}

    assert await tables.tags.list_tags(ALPINE) == ["1"]
    assert await tables.links.has(ALPINE, OWN)
