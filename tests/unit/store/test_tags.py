import dataclasses

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.tags import CLOCK_ERROR_SECONDS, TagRow, Tags

NAME = "docker.io/library/alpine"
OLD, NEW = digest_of(b"old"), digest_of(b"new")
ROW = TagRow(repository=NAME, tag="latest", digest=OLD, media_type="type", size=7, checked_at=1000.0)


@pytest.fixture
def tags(database: Database) -> Tags:
    return Tags(database)


def moved(checked_at: float) -> TagRow:
    return dataclasses.replace(ROW, digest=NEW, media_type="other", size=8, checked_at=checked_at)


async def test_unknown_tag_is_none(tags: Tags) -> None:
    assert await tags.find(NAME, "latest") is None


async def test_recorded_tag_is_found_in_its_repository(tags: Tags) -> None:
    await tags.record(ROW)

    assert await tags.find(NAME, "latest") == ROW
    assert await tags.find("ghcr.io/org/app", "latest") is None
    assert await tags.find(NAME, "Latest") is None


@pytest.mark.parametrize("checked_at", [1000.0, 1001.0])
async def test_newer_answer_overwrites(tags: Tags, checked_at: float) -> None:
    await tags.record(ROW)
    await tags.record(moved(checked_at))

    assert await tags.find(NAME, "latest") == moved(checked_at)


async def test_older_answer_never_overwrites(tags: Tags) -> None:
    await tags.record(ROW)
    await tags.record(moved(999.0))

    assert await tags.find(NAME, "latest") == ROW


async def test_answer_from_a_wrong_clock_gives_way(tags: Tags) -> None:
    await tags.record(ROW)
    answer = moved(ROW.checked_at - CLOCK_ERROR_SECONDS - 1)
    await tags.record(answer)

    assert await tags.find(NAME, "latest") == answer


@pytest.mark.parametrize(("checked_at", "is_there"), [(1001.0, False), (1000.0, False), (999.0, True)])
async def test_older_answer_never_removes(tags: Tags, checked_at: float, *, is_there: bool) -> None:
    await tags.record(ROW)
    await tags.remove(NAME, "latest", checked_at=checked_at)

    assert (await tags.find(NAME, "latest") is not None) is is_there


async def test_removed_tag_is_gone_and_others_stay(tags: Tags) -> None:
    other = dataclasses.replace(ROW, tag="3.20")
    await tags.record(ROW)
    await tags.record(other)

    await tags.remove(NAME, "latest")

    assert await tags.list_tags(NAME) == ["3.20"]


@pytest.fixture
async def ordered(tags: Tags) -> list[str]:
    names = ["1.0", "1.10", "1.9", "_x", "alpha", "Beta", "V1", "v1", "v2"]
    for name in reversed(names):
        await tags.record(dataclasses.replace(ROW, tag=name))
    await tags.record(dataclasses.replace(ROW, tag="elsewhere", repository="ghcr.io/org/app"))
    return names


async def test_tags_are_listed_without_regard_to_case(tags: Tags, ordered: list[str]) -> None:
    assert await tags.list_tags(NAME) == ordered


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
async def test_pages_together_are_the_list(tags: Tags, ordered: list[str], n: int) -> None:
    found: list[str] = []
    last = None
    while page := await tags.list_tags(NAME, n=n, last=last):
        assert len(page) <= n
        found += page
        last = page[-1]

    assert found == ordered


async def test_page_of_none_is_empty(tags: Tags, ordered: list[str]) -> None:
    assert await tags.list_tags(NAME, n=0) == []
    assert await tags.list_tags(NAME, last=ordered[-1]) == []
