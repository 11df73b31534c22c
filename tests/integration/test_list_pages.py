"""Lists that are too long for one page: what nobody bounds, we do; and the pages lead to all of it."""

import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing

import pytest

from proxycache.registry import list_referrers
from tests.builders import OCI_MANIFEST, Image, image
from tests.integration.harness import Answer, Cache
from tests.integration.pushing import APP, push_image

NAME = "library/alpine"
MIB = 1024 * 1024
MOST_LISTED = 10_000
MANY = [f"t{number:05}" for number in range(2 * MOST_LISTED + 1)]
SUBJECT = image(seed="subject")
TYPES = ("application/vnd.example.signature", "application/vnd.example.sbom")


async def pages(cache: Cache, path: str) -> AsyncIterator[Answer]:
    """Yield the pages, following the links as a client does."""
    while path:
        page = await cache.get(path)
        assert page.status == 200
        yield page
        link = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', page.headers.get("Link", ""))
        path = link[1] if link else ""


def hold_tags(cache: Cache, tags: Sequence[tuple[str, str]]) -> None:
    """Let tags of repositories be known, as if they had been pushed or pulled."""
    rows = [(name, tag, SUBJECT.digest, OCI_MANIFEST, SUBJECT.manifest.size, 0.0) for name, tag in tags]
    with closing(sqlite3.connect(cache.parts.layout.database)) as database, database:
        database.executemany(
            "INSERT INTO tags (repository, tag, digest, media_type, size, checked_at) VALUES (?, ?, ?, ?, ?, ?)", rows
        )


@pytest.mark.parametrize("query", ["", "?n=999999999"])
async def test_no_page_of_tags_is_larger_than_what_we_list_at_once(cache, query):
    hold_tags(cache, [(APP, tag) for tag in MANY])

    listed = [page.json()["tags"] async for page in pages(cache, f"/v2/{APP}/tags/list{query}")]

    assert listed == [MANY[:MOST_LISTED], MANY[MOST_LISTED : 2 * MOST_LISTED], MANY[2 * MOST_LISTED :]]


async def test_as_many_as_we_list_at_once_are_one_page(cache):
    hold_tags(cache, [(APP, tag) for tag in MANY[:MOST_LISTED]])

    assert [len(page.json()["tags"]) async for page in pages(cache, f"/v2/{APP}/tags/list")] == [MOST_LISTED]


@pytest.mark.parametrize("pages_tags", [True, False])
@pytest.mark.parametrize("query", ["", "?ns=docker.io"])
async def test_an_upstream_that_sends_all_its_tags_at_once_is_paged_here(cache, upstream, pages_tags, query):
    upstream.pages_tags, upstream.page_size = pages_tags, MOST_LISTED + 5
    for tag in MANY[: MOST_LISTED + 9]:
        upstream.add_manifest(NAME, SUBJECT.manifest, tag=tag)

    listed = [page.json()["tags"] async for page in pages(cache, f"/v2/{NAME}/tags/list{query}")]

    assert listed == [MANY[:MOST_LISTED], MANY[MOST_LISTED : MOST_LISTED + 9]]


async def test_no_page_of_held_tags_is_larger_either(cache, upstream):
    hold_tags(cache, [(f"docker.io/{NAME}", tag) for tag in MANY])
    await upstream.stop()

    listed = [len(page.json()["tags"]) async for page in pages(cache, f"/v2/{NAME}/tags/list")]

    assert listed == [MOST_LISTED, MOST_LISTED, 1]


@pytest.mark.parametrize("query", ["", "?n=999999999"])
async def test_no_page_of_the_catalog_is_larger_than_what_we_list_at_once(cache, query):
    names = [f"local/{tag}" for tag in MANY]
    hold_tags(cache, [(name, "1") for name in names])

    listed = [page.json()["repositories"] async for page in pages(cache, f"/v2/_catalog{query}")]

    assert listed == [names[:MOST_LISTED], names[MOST_LISTED : 2 * MOST_LISTED], names[2 * MOST_LISTED :]]


async def test_a_catalog_of_nothing_leads_nowhere(cache):
    hold_tags(cache, [("local/a", "1")])

    assert [page.json()["repositories"] async for page in pages(cache, "/v2/_catalog?n=0")] == [[]]


def referrers(sizes: Sequence[int]) -> list[Image]:
    """Return referrers in the order of their digests, with annotations of these sizes."""
    found = []
    for number, size in enumerate(sizes):
        made = image(
            seed=number,
            layers=1,
            subject=SUBJECT.manifest.descriptor(),
            artifactType=TYPES[number % 2],
            annotations={"org.example.long": "x" * size},
        )
        found.append(made)
    return sorted(found, key=lambda each: each.digest)


async def read_referrers(cache: Cache, path: str) -> list[list[str]]:
    """Return the digests of each page, none of which is larger than what clients are sure to take."""
    got = [page async for page in pages(cache, path)]
    assert max(len(page.body) for page in got) <= 4 * MIB
    return [[each["digest"] for each in page.json()["manifests"]] for page in got]


async def refer(cache: Cache, upstream, name: str, pushed: Sequence[Image]) -> None:
    """Let a repository have them, a local one or the upstream's."""
    for each in (SUBJECT, *pushed):
        if name == APP:
            await push_image(cache, each)
        else:
            upstream.add_image(name, each)


@pytest.mark.parametrize("name", [APP, NAME])
async def test_no_page_of_referrers_is_larger_than_what_clients_take(cache, upstream, name):
    pushed = referrers([MIB] * 7)
    await refer(cache, upstream, name, pushed)

    listed = await read_referrers(cache, f"/v2/{name}/referrers/{SUBJECT.digest}")

    assert listed == [[each.digest for each in part] for part in (pushed[:3], pushed[3:6], pushed[6:])]


@pytest.mark.parametrize("name", [APP, NAME])
async def test_a_descriptor_that_fills_a_page_is_alone_on_it(cache, upstream, name):
    pushed = referrers([4 * MIB - 4096] * 2)
    await refer(cache, upstream, name, pushed)

    listed = await read_referrers(cache, f"/v2/{name}/referrers/{SUBJECT.digest}")

    assert listed == [[each.digest] for each in pushed]


@pytest.mark.parametrize("name", [APP, NAME])
async def test_a_descriptor_larger_than_any_page_is_listed_nevertheless(cache, upstream, name, monkeypatch):
    monkeypatch.setattr(list_referrers, "_MOST_BYTES", 10)
    pushed = referrers([100] * 3)
    await refer(cache, upstream, name, pushed)

    listed = await read_referrers(cache, f"/v2/{name}/referrers/{SUBJECT.digest}")

    assert listed == [[each.digest] for each in pushed]


@pytest.mark.parametrize("query", ["&ns=docker.io", ""])
@pytest.mark.parametrize("name", [APP, NAME])
async def test_pages_of_referrers_keep_what_was_asked_for(cache, upstream, name, query):
    if name == APP:
        query = ""
    pushed = referrers([10] * 9)
    await refer(cache, upstream, name, pushed)
    wanted = [each.digest for each in pushed if each.manifest.body.count(TYPES[0].encode())]

    listed = await read_referrers(cache, f"/v2/{name}/referrers/{SUBJECT.digest}?n=2&artifactType={TYPES[0]}{query}")

    assert listed == [wanted[:2], wanted[2:4], wanted[4:]]
