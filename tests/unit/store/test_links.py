import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow, Links

DIGEST, OTHER = digest_of(b"content"), digest_of(b"other")
NAME = "docker.io/library/alpine"


@pytest.fixture
def links(database: Database) -> Links:
    return Links(database)


async def test_nothing_is_linked_at_first(links: Links) -> None:
    assert not await links.has(NAME, DIGEST)
    assert await links.find(DIGEST) is None


async def test_link_is_for_its_repository_only(links: Links) -> None:
    await links.record(BlobRow(digest=DIGEST, size=7, is_public=False, stored_at=1.0), repository=NAME)
    await links.record(BlobRow(digest=OTHER, size=7, is_public=False, stored_at=1.0), repository=NAME)

    assert await links.has(NAME, DIGEST)
    assert await links.has(NAME, OTHER)
    assert not await links.has("docker.io/library/alpine2", DIGEST)


async def test_recorded_blob_is_known_and_linked(links: Links) -> None:
    await links.record(BlobRow(digest=DIGEST, size=7, is_public=False, stored_at=1.0), repository=NAME)

    assert await links.find(DIGEST) == BlobRow(digest=DIGEST, size=7, is_public=False, stored_at=1.0)
    assert await links.has(NAME, DIGEST)


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False), (True, True)])
async def test_blob_that_was_public_once_stays_public(links: Links, *, first: bool, second: bool) -> None:
    await links.record(BlobRow(digest=DIGEST, size=7, is_public=first, stored_at=1.0), repository=NAME)
    await links.record(BlobRow(digest=DIGEST, size=7, is_public=second, stored_at=2.0), repository="ghcr.io/org/app")

    assert await links.find(DIGEST) == BlobRow(digest=DIGEST, size=7, is_public=True, stored_at=1.0)
    assert await links.has("ghcr.io/org/app", DIGEST)
