import pytest

from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow, Links
from proxycache.store.manifests import ManifestRow, Manifests

NAME, OTHER_NAME = "docker.io/library/alpine", "ghcr.io/org/app"
TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER = Descriptor(media_type="layer", digest=digest_of(b"layer"), size=5)
ROW = ManifestRow(digest=digest_of(b"manifest"), media_type=TYPE, size=8)


@pytest.fixture
def manifests(database: Database) -> Manifests:
    return Manifests(database)


async def record(manifests: Manifests, row: ManifestRow, *references: Descriptor, name: str = NAME) -> None:
    await manifests.record(
        row, references, BlobRow(digest=row.digest, size=row.size, is_public=False, stored_at=1.0), repository=name
    )


def signature(number: int, subject: Digest) -> ManifestRow:
    return ManifestRow(
        digest=digest_of(b"signature %d" % number),
        media_type=TYPE,
        size=11,
        subject=subject,
        artifact_type="application/vnd.example.signature",
        annotations={"org.example.name": "ключ"},
    )


async def test_unknown_manifest_is_none(manifests: Manifests) -> None:
    assert await manifests.find(ROW.digest) is None


@pytest.mark.parametrize("row", [ROW, signature(1, ROW.digest)], ids=["plain", "with everything"])
async def test_recorded_manifest_is_found_as_it_was(manifests: Manifests, row: ManifestRow) -> None:
    await record(manifests, row, LAYER)

    assert await manifests.find(row.digest) == row


async def test_recorded_manifest_is_a_linked_blob(manifests: Manifests, database: Database) -> None:
    await record(manifests, ROW, LAYER)

    blob = await Links(database).find(ROW.digest)

    assert blob == BlobRow(digest=ROW.digest, size=8, is_public=False, stored_at=1.0)
    assert await Links(database).has(NAME, ROW.digest)


async def test_what_a_manifest_names_is_not_linked(manifests: Manifests, database: Database) -> None:
    await record(manifests, ROW, LAYER)

    assert not await Links(database).has(NAME, LAYER.digest)


async def test_recording_again_adds_a_link(manifests: Manifests, database: Database) -> None:
    await record(manifests, ROW, LAYER, LAYER)
    await record(manifests, ROW, LAYER, name=OTHER_NAME)

    assert await Links(database).has(NAME, ROW.digest)
    assert await Links(database).has(OTHER_NAME, ROW.digest)


async def test_size_comes_from_a_manifest_of_the_repository(manifests: Manifests) -> None:
    await record(manifests, ROW, LAYER)

    assert await manifests.find_size(NAME, LAYER.digest) == 5
    assert await manifests.find_size(OTHER_NAME, LAYER.digest) is None
    assert await manifests.find_size(NAME, digest_of(b"unknown")) is None


async def test_referrers_are_those_of_the_repository(manifests: Manifests) -> None:
    ours = sorted((signature(number, ROW.digest) for number in range(3)), key=lambda row: row.digest)
    for row in ours:
        await record(manifests, row)
    await record(manifests, signature(3, ROW.digest), name=OTHER_NAME)
    await record(manifests, signature(4, LAYER.digest))

    assert await manifests.list_referrers(NAME, ROW.digest) == ours
    assert await manifests.list_referrers(NAME, digest_of(b"unknown")) == []


async def test_a_type_that_tells_nothing_gives_way_to_one_that_does(manifests: Manifests) -> None:
    known = signature(1, ROW.digest)
    odd = ManifestRow(digest=known.digest, media_type="application/vnd.example.odd", size=known.size)

    await record(manifests, odd)
    await record(manifests, known)
    assert await manifests.find(known.digest) == known
    await record(manifests, odd)
    assert await manifests.find(known.digest) == known
