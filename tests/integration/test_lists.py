"""Lists: tags as the upstream pages them, referrers merged from all that is known, and the catalog of what is held."""

import re

import pytest

from tests.builders import OCI_INDEX, image, json_content, referrer
from tests.fakes.faults import answer

NAME = "library/alpine"
TAGS = ["1", "2", "3", "4", "5"]
SUBJECT = image(seed="subject")
SBOM = referrer(SUBJECT, artifact_type="application/vnd.example.sbom", seed="sbom")
SIGNATURE = referrer(SUBJECT, artifact_type="application/vnd.example.signature", seed="signature")


@pytest.fixture
def tags(upstream) -> None:
    for tag in TAGS:
        upstream.add_image(NAME, SUBJECT, tag=tag)


@pytest.fixture
def referrers(upstream) -> None:
    for each in (SUBJECT, SBOM, SIGNATURE):
        upstream.add_image(NAME, each)


async def read_pages(cache, path: str) -> list[list[str]]:
    """Return the tags of each page, following the links as a client does."""
    pages = []
    while path:
        got = await cache.get(path)
        assert got.status == 200
        pages.append(got.json()["tags"])
        link = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', got.headers.get("Link", ""))
        path = link[1] if link else ""
    return pages


@pytest.mark.parametrize("form", ["relative", "absolute", "other-host", "query"])
@pytest.mark.parametrize("path", [f"/v2/{NAME}", "/v2/alpine", f"/v2/docker.io/{NAME}"])
async def test_pages_lead_from_one_to_the_next_under_our_names(cache, upstream, tags, form, path):
    upstream.link_form = form

    assert await read_pages(cache, f"{path}/tags/list?n=2") == [["1", "2"], ["3", "4"], ["5"]]


async def test_pages_of_a_namespace_stay_in_it(cache, upstream, tags):
    pages = await read_pages(cache, f"/v2/{NAME}/tags/list?n=2&ns=docker.io")
    got = await cache.get(f"/v2/{NAME}/tags/list?n=2&ns=docker.io")

    assert pages == [["1", "2"], ["3", "4"], ["5"]]
    assert "ns=docker.io" in got.headers["Link"]


async def test_an_upstream_that_pages_by_itself_is_paged_on(cache, upstream, tags):
    upstream.page_size = 2

    assert await read_pages(cache, f"/v2/{NAME}/tags/list") == [["1", "2"], ["3", "4"], ["5"]]


async def test_last_is_where_a_page_begins(cache, tags):
    got = await cache.get(f"/v2/{NAME}/tags/list?n=2&last=3")

    assert (got.json(), "Link" in got.headers) == ({"name": NAME, "tags": ["4", "5"]}, False)


@pytest.mark.parametrize("n", ["-1", "x", "", "9" * 40])
async def test_a_count_that_makes_no_sense_is_none(cache, tags, n):
    got = await cache.get(f"/v2/{NAME}/tags/list?n={n}")

    assert (got.status, got.json()["tags"]) == (200, TAGS)


async def test_no_tags_are_asked_for_and_none_are_given(cache, tags):
    got = await cache.get(f"/v2/{NAME}/tags/list?n=0")

    assert (got.status, got.json()["tags"]) == (200, [])


async def test_a_repository_that_the_upstream_lacks_has_no_list(cache):
    got = await cache.get("/v2/library/missing/tags/list")

    assert (got.status, got.code) == (404, "NAME_UNKNOWN")


async def test_held_tags_are_listed_when_the_upstream_is_gone(cache, upstream, tags):
    for tag in ("2", "4", "5"):
        await cache.get_manifest(NAME, tag)
    await upstream.stop()

    got = await cache.get(f"/v2/{NAME}/tags/list?n=2")
    pages = await read_pages(cache, f"/v2/{NAME}/tags/list?n=2")

    assert pages == [["2", "4"], ["5"]]
    assert got.headers["Warning"].startswith("299")


async def test_no_held_tags_are_a_failure_when_the_upstream_is_gone(cache, upstream):
    await upstream.stop()

    assert (await cache.get(f"/v2/{NAME}/tags/list")).status == 502


async def list_referrers(cache, query: str = "") -> list[str]:
    got = await cache.get(f"/v2/{NAME}/referrers/{SUBJECT.digest}{query}")
    assert (got.status, got.headers["Content-Type"]) == (200, OCI_INDEX)
    assert got.json()["mediaType"] == OCI_INDEX
    return [descriptor["digest"] for descriptor in got.json()["manifests"]]


async def test_referrers_are_listed_with_what_they_are(cache, referrers):
    got = await cache.get(f"/v2/{NAME}/referrers/{SUBJECT.digest}")

    described = {each["digest"]: each for each in got.json()["manifests"]}
    assert set(described) == {SBOM.digest, SIGNATURE.digest}
    assert described[SBOM.digest]["artifactType"] == "application/vnd.example.sbom"
    assert described[SBOM.digest]["annotations"] == {"org.example.seed": "sbom"}
    assert described[SBOM.digest]["size"] == len(SBOM.body)


@pytest.mark.parametrize("api", ["api", "off", "redirect"])
async def test_referrers_of_one_type_are_told_apart(cache, upstream, referrers, api):
    upstream.referrers = api
    add_referrers_tag(upstream)

    got = await cache.get(f"/v2/{NAME}/referrers/{SUBJECT.digest}?artifactType=application/vnd.example.sbom")

    assert [each["digest"] for each in got.json()["manifests"]] == [SBOM.digest]
    assert got.headers["OCI-Filters-Applied"] == "artifactType"


def add_referrers_tag(upstream) -> None:
    """Let the upstream have the list as the tag schema has it."""
    types = {SBOM: "application/vnd.example.sbom", SIGNATURE: "application/vnd.example.signature"}
    listed = [each.manifest.descriptor(artifactType=artifact_type) for each, artifact_type in types.items()]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    upstream.add_manifest(NAME, json_content(document, OCI_INDEX), tag=SUBJECT.digest.replace(":", "-"))


@pytest.mark.parametrize("api", ["off", "redirect"])
async def test_an_upstream_without_the_api_is_asked_for_the_tag(cache, upstream, referrers, api):
    upstream.referrers = api
    add_referrers_tag(upstream)

    assert set(await list_referrers(cache)) == {SBOM.digest, SIGNATURE.digest}
    assert upstream.cdn.requests == []


@pytest.mark.parametrize("api", ["api", "off"])
async def test_what_nothing_refers_to_has_an_empty_list(cache, upstream, api):
    upstream.add_image(NAME, SUBJECT)
    upstream.referrers = api

    assert await list_referrers(cache) == []


async def test_held_referrers_that_the_upstream_does_not_list_are_listed_once(cache, upstream, referrers):
    await cache.get_manifest(NAME, SBOM.digest)
    await cache.get_manifest(NAME, SIGNATURE.digest)
    upstream.referrers = "off"

    assert sorted(await list_referrers(cache)) == sorted([SBOM.digest, SIGNATURE.digest])


async def test_referrers_are_asked_for_once_while_they_are_fresh(workers, upstream, referrers, clock):
    listed = [set(await list_referrers(cache)) for cache in workers * 2]
    asked = upstream.count("GET", "/referrers/")
    clock.advance(301)
    await list_referrers(workers[0])

    assert listed == [{SBOM.digest, SIGNATURE.digest}] * 4
    assert (asked, upstream.count("GET", "/referrers/")) == (1, 2)


@pytest.mark.parametrize("trouble", [answer(503), answer(429), answer(200, b"no json", Content_Type=OCI_INDEX)])
async def test_stale_referrers_are_better_than_none(cache, upstream, referrers, clock, trouble):
    await list_referrers(cache)
    upstream.faults.add(trouble, times=None)

    clock.advance(1000)
    got = await cache.get(f"/v2/{NAME}/referrers/{SUBJECT.digest}")

    assert {each["digest"] for each in got.json()["manifests"]} == {SBOM.digest, SIGNATURE.digest}
    assert got.headers["Warning"].startswith("299")


async def test_that_nothing_refers_to_a_digest_takes_no_row(cache, upstream, clock):
    upstream.add_image(NAME, SUBJECT)
    before = cache.parts.database.generation()

    for seconds in (0, 59, 2):
        clock.advance(seconds)
        assert await list_referrers(cache) == []

    assert cache.parts.database.generation() == before
    assert upstream.count("GET", "/referrers/") == 2


async def test_empty_lists_take_room_for_a_few_only(cache, upstream, monkeypatch):
    monkeypatch.setattr("proxycache.registry.list_referrers._MOST_EMPTY_LISTS", 2)
    upstream.add_image(NAME, SUBJECT)

    for digest in (SUBJECT.digest, SBOM.digest, SIGNATURE.digest, SIGNATURE.digest, SUBJECT.digest):
        await cache.get(f"/v2/{NAME}/referrers/{digest}")

    assert upstream.count("GET", "/referrers/") == 4


async def test_an_empty_list_is_given_while_the_upstream_fails(cache, upstream, clock):
    upstream.add_image(NAME, SUBJECT)
    await list_referrers(cache)
    await upstream.stop()

    clock.advance(1000)
    got = await cache.get(f"/v2/{NAME}/referrers/{SUBJECT.digest}")

    assert (got.status, got.json()["manifests"], "Warning" in got.headers) == (200, [], True)


async def test_a_list_that_has_become_empty_is_empty_for_all_workers(workers, upstream, referrers, clock):
    await list_referrers(workers[0])
    upstream.faults.add(answer(200, b'{"manifests": []}', Content_Type=OCI_INDEX), on="/referrers/")

    clock.advance(301)
    got = [await list_referrers(cache) for cache in workers]

    assert got == [[], []]


async def test_referrers_that_nobody_knows_are_a_failure(cache, upstream):
    await upstream.stop()

    assert (await cache.get(f"/v2/{NAME}/referrers/{SUBJECT.digest}")).status == 502


async def test_the_catalog_names_what_is_held(cache, upstream, other_upstream, tags):
    other_upstream.add_image("org/app", SUBJECT, tag="1")
    empty = await cache.get("/v2/_catalog")
    await cache.get_manifest(NAME, "1")
    await cache.get_manifest("ghcr.io/org/app", "1")
    await cache.get_manifest("library/missing", "1")

    got = await cache.get("/v2/_catalog")

    assert empty.json() == {"repositories": []}
    assert got.json() == {"repositories": [f"docker.io/{NAME}", "ghcr.io/org/app"]}


async def test_the_catalog_comes_in_pages(cache, upstream):
    for name in ("a", "b", "c"):
        upstream.add_image(f"library/{name}", SUBJECT, tag="1")
        await cache.get_manifest(f"library/{name}", "1")

    first = await cache.get("/v2/_catalog?n=2")
    link = re.fullmatch(r'<(/v2/_catalog[^>]+)>; rel="next"', first.headers["Link"])
    assert link is not None
    second = await cache.get(link[1])

    assert first.json()["repositories"] == ["docker.io/library/a", "docker.io/library/b"]
    assert (second.json()["repositories"], "Link" in second.headers) == (["docker.io/library/c"], False)


@pytest.mark.parametrize("path", ["/v2/_catalog", f"/v2/{NAME}/tags/list", f"/v2/{NAME}/referrers/{SUBJECT.digest}"])
async def test_a_head_of_a_list_has_no_body(cache, tags, path):
    head, got = await cache.head(path), await cache.get(path)

    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.body))
