"""What lives here is served from here: nobody upstream is asked, whether it is there or not."""

import pytest

from tests.builders import blob, image, index, referrer
from tests.integration.harness import Cache
from tests.integration.pushing import APP, OTHER, push_blob, push_image, put_manifest, tags_of

LARGE = blob(300_000)


@pytest.mark.parametrize(
    ("wanted", "expected", "content_range"),
    [
        ("0-0", LARGE.body[:1], "bytes 0-0/300000"),
        ("100-199", LARGE.body[100:200], "bytes 100-199/300000"),
        ("299000-", LARGE.body[299_000:], "bytes 299000-299999/300000"),
        ("-5", LARGE.body[-5:], "bytes 299995-299999/300000"),
        ("299999-400000", LARGE.body[-1:], "bytes 299999-299999/300000"),
    ],
)
async def test_a_range_of_a_blob(cache, wanted, expected, content_range):
    await push_blob(cache, LARGE)

    got = await cache.get_range(APP, LARGE.digest, wanted)

    assert (got.status, got.body, got.headers["Content-Range"]) == (206, expected, content_range)


async def test_a_range_behind_the_end_is_refused(cache):
    await push_blob(cache, LARGE)

    got = await cache.get_range(APP, LARGE.digest, "300000-")

    assert (got.status, got.headers["Content-Range"]) == (416, "bytes */300000")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("size", [100, 300_000])
async def test_who_has_it_already_is_told_so(cache, method, size):
    layer, pushed = blob(size), image()
    await push_blob(cache, layer)
    await push_image(cache, pushed, "1")

    for path, digest in ((f"blobs/{layer.digest}", layer.digest), ("manifests/1", pushed.digest)):
        for known, status in ((f'"{digest}"', 304), (f'W/"{digest}"', 304), ("*", 304), ('"other"', 200)):
            answer = await cache.ask(method, f"/v2/{APP}/{path}", {"If-None-Match": known})
            assert (answer.status, answer.headers["ETag"]) == (status, f'"{digest}"')
            assert (answer.body == b"") == (status == 304 or method == "HEAD")
    absent = f"/v2/{APP}/blobs/{blob(7).digest}"
    assert (await cache.ask(method, absent, {"If-None-Match": "*"})).status == 404


async def test_a_local_name_is_never_asked_upstream(cache, upstream, other_upstream):
    for registry in (upstream, other_upstream):
        registry.add_image(APP, image(seed="theirs"), tag="1")
    theirs = image(seed="theirs")
    for repository in (APP, "local", "local/none"):
        for path in (
            "manifests/1",
            f"manifests/{theirs.digest}",
            f"blobs/{theirs.layers[0].digest}",
            "tags/list",
            f"referrers/{theirs.digest}",
        ):
            for method in ("GET", "HEAD"):
                expected = 200 if path.startswith("referrers") else 404
                assert (await cache.ask(method, f"/v2/{repository}/{path}")).status == expected
    await push_image(cache, image(), "1")
    assert (await cache.get_manifest(APP, "1")).body == image().body

    assert upstream.requests == other_upstream.requests == []


@pytest.mark.parametrize("path", ["/v2/local/app/{}?ns=docker.io", "/v2/docker.io/local/app/{}"])
async def test_a_local_name_of_an_upstream_is_the_upstream_s(cache, upstream, path):
    ours, theirs = image(seed="ours"), image(seed="theirs")
    upstream.add_image(APP, theirs, tag="1")
    await push_image(cache, ours, "1")

    for _ in range(2):
        got = await cache.get(path.format("manifests/1"))
        assert (got.body, got.headers["OCI-Namespace"]) == (theirs.body, "docker.io")
        assert (await cache.get_manifest(APP, "1")).body == ours.body
    refused = await cache.put(path.format("manifests/1"), theirs.body, theirs.media_type)

    assert (refused.status, refused.code) == (405, "UNSUPPORTED")
    assert (await cache.get(path.format(f"blobs/{ours.layers[0].digest}"))).status == 404
    assert (await cache.get_blob(APP, theirs.layers[0].digest)).status == 404
    assert (await cache.get_manifest(APP, "1")).body == ours.body
    assert await tags_of(cache) == ["1"]


async def test_a_push_is_seen_by_the_other_worker_though_it_remembers(workers):
    first, second = image(seed="first"), image(seed="second")
    for pushed in (first, second, first):
        await push_image(workers[0], pushed, "1")
        for cache in workers:
            assert [(await cache.get_manifest(APP, "1")).body for _ in range(2)] == [pushed.body] * 2
            assert (await cache.head_manifest(APP, "1")).headers["Docker-Content-Digest"] == pushed.digest


# --- lists ---


async def test_tags_come_in_lexical_order_and_in_pages(workers):
    pushed = image()
    tags = ["1", "10", "2", "alpha", "B", "b", "C-3", "latest", "Z"]
    await push_image(workers[0], pushed, "1")
    for tag in reversed(tags):
        await put_manifest(workers[0], pushed.manifest, tag)

    assert await tags_of(workers[1]) == tags
    assert await pages_of(workers[1], f"/v2/{APP}/tags/list?n=2", "tags") == [
        tags[at : at + 2] for at in (0, 2, 4, 6, 8)
    ]
    assert await tags_of(workers[1], "?n=0") == []
    assert await tags_of(workers[1], "?last=b") == ["C-3", "latest", "Z"]
    assert await tags_of(workers[1], "?last=zzz&n=3") == []
    assert (await workers[1].get("/v2/local/none/tags/list")).code == "NAME_UNKNOWN"


async def test_a_repository_without_tags_has_an_empty_list(cache):
    pushed = image()
    await push_image(cache, pushed)

    assert await tags_of(cache) == []


async def test_referrers_are_listed_by_type_and_in_pages(workers, upstream):
    subject = image()
    sboms = [referrer(subject, seed=number) for number in range(3)]
    signatures = [referrer(subject, artifact_type="application/vnd.example.sig", seed=number) for number in range(2)]
    summary = index([image(seed="child")], subject=subject.manifest.descriptor(), annotations={"of": "an index"})
    for pushed in (*sboms, *signatures, summary):
        await push_image(workers[0], pushed)
    path = f"/v2/{APP}/referrers/{subject.digest}"

    everything = await workers[1].get(path)
    only_signatures = await workers[1].get(f"{path}?artifactType=application/vnd.example.sig")

    assert everything.headers["Content-Type"].startswith("application/vnd.oci.image.index.v1+json")
    listed = {each["digest"]: each for each in everything.json()["manifests"]}
    assert set(listed) == {each.digest for each in (*sboms, *signatures, summary)}
    assert listed[sboms[0].digest] == {
        **sboms[0].manifest.descriptor(),
        "artifactType": "application/vnd.example.sbom",
        "annotations": {"org.example.seed": "0"},
    }
    assert listed[summary.digest]["annotations"] == {"of": "an index"}
    assert {each["digest"] for each in only_signatures.json()["manifests"]} == {each.digest for each in signatures}
    assert only_signatures.headers["OCI-Filters-Applied"] == "artifactType"
    for query, wanted, count in (("n=4", listed, 2), ("artifactType=application/vnd.example.sbom&n=1", sboms, 3)):
        pages = await pages_of(workers[1], f"{path}?{query}", "manifests")
        assert len(pages) == count
        found = [each["digest"] for page in pages for each in page]
        assert found == sorted(listed if wanted is listed else [each.digest for each in sboms])
    nothing = await workers[1].get(f"/v2/{OTHER}/referrers/{subject.digest}")
    assert (nothing.status, nothing.json()["manifests"]) == (200, [])
    assert upstream.requests == []


async def test_the_catalog_lists_what_is_pushed_and_what_is_cached(workers, upstream):
    upstream.add_image("library/alpine", image(), tag="3")
    assert (await workers[0].get_manifest("library/alpine", "3")).status == 200
    await push_image(workers[0], image(), "1")
    await push_image(workers[0], image(), repository=OTHER)

    names = (await workers[1].get("/v2/_catalog")).json()["repositories"]

    assert names == ["docker.io/library/alpine", APP, OTHER]
    assert await pages_of(workers[1], "/v2/_catalog?n=2", "repositories") == [names[:2], names[2:]]


async def pages_of(cache: Cache, path: str, key: str) -> list[list]:
    """Follow the links from page to page."""
    pages = []
    while path:
        answer = await cache.get(path)
        assert answer.status == 200
        pages.append(answer.json()[key])
        link = answer.headers.get("Link", "")
        assert link == "" or link.endswith('; rel="next"')
        path = link.partition(">")[0].removeprefix("<")
    return pages
