import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow, Links
from proxycache.store.repositories import Repositories, Visibility
from proxycache.store.tags import TagRow, Tags

DIGEST = digest_of(b"content")


@pytest.fixture
def repositories(database: Database) -> Repositories:
    return Repositories(database)


async def test_visibility_is_unknown_until_recorded(repositories: Repositories) -> None:
    assert await repositories.find_visibility("ghcr.io/org/app") is None


async def test_last_recorded_visibility_counts(repositories: Repositories) -> None:
    await repositories.record_visibility("ghcr.io/org/app", is_public=True, checked_at=1.0)
    await repositories.record_visibility("ghcr.io/org/app", is_public=False, checked_at=2.0)

    found = await repositories.find_visibility("ghcr.io/org/app")

    assert found == Visibility(is_public=False, checked_at=2.0)


@pytest.fixture
async def named(database: Database) -> list[str]:
    """Repositories with links, with a tag, and with both; and one that was only asked about."""
    for name in ("quay.io/org/app", "docker.io/library/alpine"):
        for digest in (DIGEST, digest_of(b"other")):
            blob = BlobRow(digest=digest, size=7, is_public=True, stored_at=1.0)
            await Links(database).record(blob, repository=name)
    for name in ("docker.io/library/alpine", "ghcr.io/org/app"):
        row = TagRow(repository=name, tag="1", digest=DIGEST, media_type="type", size=7, checked_at=1.0)
        await Tags(database).record(row)
    await Repositories(database).record_visibility("ghcr.io/org/empty", is_public=True, checked_at=1.0)
    return ["docker.io/library/alpine", "ghcr.io/org/app", "quay.io/org/app"]


async def test_names_are_those_that_hold_something(repositories: Repositories, named: list[str]) -> None:
    assert await repositories.list_names() == named


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
async def test_first_page_has_at_most_n_names(repositories: Repositories, named: list[str], n: int) -> None:
    assert await repositories.list_names(n=n) == named[:n]


@pytest.mark.parametrize(
    ("last", "count"), [("a", 3), ("docker.io/library/alpine", 2), ("ghcr.io/a", 2), ("quay.io/org/app", 0), ("z", 0)]
)
async def test_page_begins_after_last(repositories: Repositories, named: list[str], last: str, count: int) -> None:
    assert await repositories.list_names(last=last) == named[3 - count :]


async def test_no_names_in_an_empty_store(repositories: Repositories) -> None:
    assert await repositories.list_names(n=10) == []
