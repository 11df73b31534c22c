"""Manifests: the exact bytes that the upstream has, or nothing."""

import asyncio

import pytest

from tests.builders import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    OCI_INDEX,
    OCI_MANIFEST,
    content,
    image,
    json_content,
    referrer,
    schema1_manifest,
)
from tests.fakes.faults import answer, slow_headers, without_header, wrong_byte
from tests.fakes.signals import Gate

NAME = "library/alpine"
IMAGES = {
    OCI_INDEX: image(platforms=["linux/amd64", "linux/arm64/v8"], seed="index"),
    DOCKER_LIST: image(platforms=["linux/amd64"], kind="docker", seed="list"),
    OCI_MANIFEST: image(seed="oci"),
    DOCKER_MANIFEST: image(kind="docker", seed="docker"),
}


@pytest.mark.parametrize("media_type", IMAGES)
@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_the_bytes_and_their_type_are_the_upstreams(cache, upstream, media_type, by):
    wanted = upstream.add_image(NAME, IMAGES[media_type], tag="3")
    reference = "3" if by == "tag" else wanted.digest

    for got in [await cache.get_manifest(NAME, reference) for _ in range(3)]:
        assert (got.status, got.body) == (200, wanted.body)
        assert got.headers["Content-Type"] == media_type
        assert got.headers["Docker-Content-Digest"] == wanted.digest
        assert got.headers["ETag"] == f'"{wanted.digest}"'


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("is_held", [True, False])
async def test_get_and_head_have_the_same_headers(cache, upstream, by, is_held):
    wanted = upstream.add_image(NAME, IMAGES[OCI_MANIFEST], tag="3")
    path = f"/v2/{NAME}/manifests/{'3' if by == 'tag' else wanted.digest}"
    if is_held:
        await cache.get(path)

    head, got = await cache.head(path), await cache.get(path)

    for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag", "OCI-Namespace"):
        assert head.headers[name] == got.headers[name]
    assert (head.body, got.headers["OCI-Namespace"]) == (b"", "docker.io")


async def test_a_held_manifest_is_served_by_digest_without_its_upstream(start, upstream):
    before = await start()
    wanted = upstream.add_image(NAME, IMAGES[OCI_MANIFEST], tag="3")
    await before.get_manifest(NAME, "3")
    await before.stop()
    await upstream.stop()

    got = await (await start()).get_manifest(NAME, wanted.digest)

    assert (got.body, got.headers["Content-Type"]) == (wanted.body, OCI_MANIFEST)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_has_it_gets_304(cache, upstream, method):
    wanted = upstream.add_image(NAME, IMAGES[OCI_MANIFEST], tag="3")

    got = await cache.ask(method, f"/v2/{NAME}/manifests/3", {"If-None-Match": f'"{wanted.digest}"'})

    assert (got.status, got.body, got.headers["Docker-Content-Digest"]) == (304, b"", wanted.digest)


async def test_another_manifest_than_the_digest_says_is_neither_given_nor_kept(cache, upstream):
    wanted = upstream.add_image(NAME, IMAGES[OCI_MANIFEST], tag="3")
    upstream.faults.add(wrong_byte(5), method="GET")

    got = [await cache.get_manifest(NAME, wanted.digest) for _ in range(2)]

    assert [each.status for each in got] == [502, 200]
    assert got[1].body == wanted.body


async def test_a_login_page_never_becomes_an_image(cache, upstream):
    wanted = upstream.add_image(NAME, IMAGES[OCI_MANIFEST], tag="3")
    page = answer(200, b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")
    rule = upstream.faults.add(page, times=None)

    refused = [await cache.get_manifest(NAME, reference) for reference in ("3", wanted.digest)]
    upstream.faults.remove(rule)
    got = await cache.get_manifest(NAME, "3")

    assert [each.status for each in refused] == [502, 502]
    kept = [path for path in cache.parts.layout.blobs.rglob("*") if path.is_file()]
    assert (got.body, [path.name for path in kept]) == (wanted.body, [wanted.digest.partition(":")[2]])


async def test_a_page_that_calls_itself_json_never_becomes_an_image_either(cache, upstream):
    page = answer(200, b"<html>Please log in</html>", Content_Type=OCI_MANIFEST)
    upstream.faults.add(page, times=None)

    got = await cache.get_manifest(NAME, "3")

    assert got.status == 502
    assert [path for path in cache.parts.layout.blobs.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_schema_1_is_404_with_the_reason_however_often_it_is_asked(workers, upstream, method):
    upstream.add_manifest(NAME, schema1_manifest(), tag="old")

    got = [await cache.ask(method, f"/v2/{NAME}/manifests/old") for cache in workers * 2]

    assert {each.status for each in got} == {404}
    if method == "GET":
        assert all("schema 1" in each.message for each in got)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_schema_1_is_404_by_digest_too(cache, upstream, method):
    old = upstream.add_manifest(NAME, schema1_manifest(), tag="old")

    got = await cache.ask(method, f"/v2/{NAME}/manifests/{old.digest}")

    assert got.status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_schema_1_is_recognised_behind_a_type_that_says_nothing(cache, upstream, method):
    old = schema1_manifest()
    upstream.add_manifest(NAME, content(old.body, "application/json"), tag="old")
    upstream.faults.add(answer(200, old.body, Content_Type="application/json"), method="GET", times=None)
    headers = {"Content_Type": "application/json", "Docker_Content_Digest": old.digest, "Content_Length": str(old.size)}
    upstream.faults.add(answer(200, **headers), method="HEAD", times=None)

    got = [await cache.ask(method, f"/v2/{NAME}/manifests/old") for _ in range(2)]

    assert [each.status for each in got] == [404, 404]


async def test_the_upstream_is_asked_for_all_types_whatever_the_client_accepts(cache, upstream):
    wanted = upstream.add_image(NAME, IMAGES[OCI_INDEX], tag="3")

    got = await cache.get_manifest(NAME, "3", {"Accept": DOCKER_MANIFEST})

    assert got.body == wanted.body
    for seen in upstream.requests:
        assert all(media_type in seen.headers["Accept"] for media_type in IMAGES)
        assert DOCKER_SCHEMA1 not in seen.headers["Accept"]


async def test_several_accept_lines_are_taken(cache, upstream):
    wanted = upstream.add_image(NAME, IMAGES[OCI_MANIFEST], tag="3")
    port = int(cache.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET /v2/{NAME}/manifests/3 HTTP/1.1", "Host: cache", "Connection: close"]
    lines += [f"Accept: {media_type}" for media_type in (DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST)]

    writer.write("\r\n".join([*lines, "", ""]).encode())
    answered = await reader.read()
    writer.close()

    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answered.endswith(wanted.body)


async def test_only_the_platform_that_is_asked_for_is_fetched(cache, upstream):
    index = upstream.add_image(NAME, IMAGES[OCI_INDEX], tag="3")
    asked = index.children[1]

    await cache.get_manifest(NAME, "3")
    await cache.get_manifest(NAME, asked.digest)
    for each in asked.blobs():
        await cache.get_blob(NAME, each.digest)

    fetched = {seen.path.rpartition("/")[2] for seen in upstream.requests if seen.method == "GET"}
    assert fetched == {index.digest, asked.digest, *(each.digest for each in asked.blobs())}


async def test_a_manifest_of_an_unknown_type_is_passed_on_and_kept(cache, upstream):
    document = {"schemaVersion": 2, "mediaType": "application/vnd.example.thing+json", "parts": [1, 2]}
    thing = json_content(document, "application/vnd.example.thing+json")
    upstream.faults.add(answer(200, thing.body, Content_Type=thing.media_type), method="GET")

    got = [await cache.get_manifest(NAME, thing.digest) for _ in range(2)]

    assert [(each.status, each.body) for each in got] == [(200, thing.body)] * 2
    assert upstream.count("GET") == 1


async def test_an_artifact_is_a_manifest_like_any_other(cache, upstream):
    sbom = upstream.add_image(NAME, referrer(IMAGES[OCI_MANIFEST]))

    got = await cache.get_manifest(NAME, sbom.digest)

    assert got.body == sbom.body


async def test_a_manifest_that_is_too_large_is_refused(cache, upstream):
    huge = json_content({"schemaVersion": 2, "padding": "x" * (4 * 1024 * 1024)}, OCI_MANIFEST)
    upstream.add_manifest(NAME, huge, tag="huge")

    got = await cache.get_manifest(NAME, "huge")

    assert (got.status, "larger than" in got.message) == (502, True)


async def test_a_layer_asked_for_as_a_manifest_is_no_manifest(cache, upstream):
    held = upstream.add_image(NAME, IMAGES[OCI_MANIFEST], tag="3")
    for each in held.blobs():
        await cache.get_blob(NAME, each.digest)

    got = [await cache.get_manifest(NAME, each.digest) for each in held.blobs()]

    assert {each.status for each in got} == {404}


async def test_a_sha512_manifest_is_checked_and_kept(cache, upstream):
    wanted = content(IMAGES[OCI_MANIFEST].body, OCI_MANIFEST, algorithm="sha512")
    upstream.add_manifest(NAME, wanted)

    got = [await cache.get_manifest(NAME, wanted.digest) for _ in range(2)]

    assert [(each.body, each.headers["Docker-Content-Digest"]) for each in got] == [(wanted.body, wanted.digest)] * 2
    assert upstream.count("GET") == 1


async def test_a_client_that_leaves_its_head_does_not_end_the_fetch_that_answers_it(cache, upstream):
    wanted, gate = upstream.add_image(NAME, IMAGES[OCI_MANIFEST]), Gate()
    upstream.faults.add(without_header("Content-Length"), on=wanted.digest, method="HEAD")
    upstream.faults.add(slow_headers(gate), on=wanted.digest, method="GET")

    asking = asyncio.get_running_loop().create_task(cache.head_manifest(NAME, wanted.digest))
    await gate.arrived.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    while cache.parts.metrics.requests.in_flight:
        await asyncio.sleep(0.001)
    gate.open()

    assert (await cache.get_manifest(NAME, wanted.digest)).body == wanted.body
    assert upstream.count("GET", wanted.digest) == 1
