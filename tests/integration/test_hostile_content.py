"""What an upstream or an image says of itself is believed by nobody here before it is checked."""

import asyncio
import json
import socket
import struct

import pytest

from tests.builders import content, image
from tests.fakes.faults import answer
from tests.integration.harness import read

NAME = "library/alpine"
CONFIG = {"architecture": "amd64", "config": {"Env": ["A=b"]}, "rootfs": {"type": "layers", "diff_ids": []}}


def blob_path(digest: str) -> str:
    return f"/v2/{NAME}/blobs/{digest}"


async def test_an_empty_body_for_any_digest_is_not_complete(cache, upstream):
    wanted = upstream.add_blob(NAME, 100_000)
    upstream.faults.add(answer(200, b"", Content_Length="0"), on=wanted.digest, method="GET", times=None)

    first, second = await cache.get(blob_path(wanted.digest)), await cache.get(blob_path(wanted.digest))

    assert (first.status, second.status) == (502, 502)


async def test_an_empty_blob_is_served(cache, upstream):
    wanted = upstream.add_blob(NAME, 0)

    cold = await cache.get(blob_path(wanted.digest))
    held = await cache.get(blob_path(wanted.digest))

    assert [(got.status, got.body, got.is_complete) for got in (cold, held)] == [(200, b"", True)] * 2


@pytest.mark.parametrize(
    "document",
    [
        CONFIG,
        CONFIG | {"schemaVersion": 2},
        {"schemaVersion": 2, "mediaType": "x/y\r\nX-Evil: 1\r\nContent-Length: 3\r\n\r\nbad"},
        {"schemaVersion": 2, "mediaType": "x/\u4e2d"},
        {"schemaVersion": 2, "mediaType": "application/vnd.example+json"},
        {"schemaVersion": 2, "manifests": []},
    ],
)
async def test_a_blob_that_looks_like_a_manifest_is_none(cache, upstream, document):
    blob = content(json.dumps(document).encode())
    upstream.repository(NAME).blobs[blob.digest] = blob
    assert (await cache.get(blob_path(blob.digest))).status == 200

    got = await cache.get_manifest(NAME, blob.digest)

    assert (got.status, got.code) == (404, "MANIFEST_UNKNOWN")
    assert "X-Evil" not in got.headers


@pytest.mark.parametrize("media_type", ["x/y\r\nX-Evil: 1", "x/\u4e2d", "nonsense"])
async def test_a_media_type_of_the_content_is_checked(cache, upstream, media_type):
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type}).encode()
    upstream.faults.add(answer(200, body, Content_Type="application/json"), times=None)

    got = await cache.get_manifest(NAME, "1")

    assert got.status == 502
    assert "X-Evil" not in got.headers


async def test_a_tag_whose_digest_is_gone_upstream_is_got_anew(cache, upstream):
    old = upstream.add_image(NAME, image(seed="old"), tag="1")
    await cache.head_manifest(NAME, "1")
    del upstream.repository(NAME).manifests[old.digest]
    new = upstream.add_image(NAME, image(seed="new"), tag="1")

    got, again = await cache.get_manifest(NAME, "1"), await cache.get_manifest(NAME, "1")

    assert [(one.status, one.body) for one in (got, again)] == [(200, new.body)] * 2


@pytest.mark.parametrize(("fault", "status"), [(answer(404), 404), (answer(429, Retry_After="30"), 429)])
async def test_a_tag_that_cannot_be_got_anew_is_not_asked_for_each_time(cache, upstream, fault, status):
    old = upstream.add_image(NAME, image(seed="old"), tag="1")
    await cache.head_manifest(NAME, "1")
    del upstream.repository(NAME).manifests[old.digest]
    upstream.faults.add(fault, on="manifests/1", method="GET", times=None)

    got = [await cache.get_manifest(NAME, "1") for _ in range(5)]

    assert [one.status for one in got] == [status] * 5
    assert upstream.count("GET", "manifests/1") == 1


async def test_a_refusal_is_no_reason_to_serve_what_is_stale(cache, upstream, clock):
    upstream.add_image(NAME, image(), tag="1")
    await cache.get_manifest(NAME, "1")
    clock.advance(1000)
    upstream.faults.add(answer(403), on="manifests/1", times=None)

    got = [await cache.get_manifest(NAME, "1") for _ in range(3)]

    assert [one.status for one in got] == [404] * 3


async def test_a_head_that_names_another_digest_than_get_gives(cache, upstream):
    real = upstream.add_image(NAME, image(), tag="1")
    lie = answer(200, Docker_Content_Digest="sha256:" + "0" * 64, Content_Type=real.media_type, Content_Length="9")
    upstream.faults.add(lie, method="HEAD", times=None)

    got = await cache.get_manifest(NAME, "1")

    assert (got.status, got.body) == (200, real.body)


async def test_a_client_that_resets_is_no_error(cache, upstream, caplog):
    wanted = upstream.add_blob(NAME, 3_000_000)
    await cache.get(blob_path(wanted.digest))
    host, port = cache.url.removeprefix("http://").split(":")

    for _ in range(20):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {blob_path(wanted.digest)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with cache.open(blob_path(wanted.digest)) as response:
        assert (await read(response))[1]
    assert "unexpected error" not in caplog.text


async def test_what_the_client_has_already_is_not_fetched(cache, upstream):
    wanted = upstream.add_blob(NAME, 200_000)

    got = await cache.get(blob_path(wanted.digest), {"If-None-Match": f'"{wanted.digest}"'})

    assert got.status == 304
    assert upstream.count("GET", wanted.digest) == 0
