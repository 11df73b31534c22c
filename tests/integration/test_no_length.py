"""Upstreams that do not say how long a blob is."""

import asyncio

import pytest

from tests.builders import image
from tests.fakes.faults import cut, no_length, stall, wrong_byte
from tests.fakes.signals import Gate

NAME = "library/alpine"
SIZE = 300_000
TAIL = 64 * 1024


def path_of(digest: str) -> str:
    return f"/v2/{NAME}/blobs/{digest}"


@pytest.mark.parametrize("size", [0, 1, TAIL, TAIL + 1, SIZE])
async def test_it_is_sent_in_chunks(cache, upstream, size):
    wanted = upstream.add_blob(NAME, size)
    upstream.faults.add(no_length(), on=wanted.digest)

    got = await cache.get(path_of(wanted.digest))

    assert (got.status, got.body, got.is_complete) == (200, wanted.body, True)
    assert "Content-Length" not in got.headers
    assert "Accept-Ranges" not in got.headers


async def test_it_is_held_like_any_other(workers, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(no_length(), on=wanted.digest)
    await workers[0].get(path_of(wanted.digest))
    await workers[0].wait_for_fills()

    got = await workers[1].get(path_of(wanted.digest))

    assert (got.body, got.headers["Content-Length"]) == (wanted.body, str(SIZE))


async def test_a_range_of_it_is_ignored(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(no_length(), on=wanted.digest)

    got = await cache.get_range(NAME, wanted.digest, "10-19")

    assert (got.status, got.body) == (200, wanted.body)


async def test_the_size_that_a_manifest_says_is_the_length(cache, upstream):
    held = upstream.add_image(NAME, image(layer_size=SIZE), tag="3")
    layer = held.layers[0]
    upstream.faults.add(no_length(), on="/blobs/", times=None)
    await cache.get_manifest(NAME, "3")

    got = await cache.get_range(NAME, layer.digest, "10-19")

    assert (got.status, got.body) == (206, layer.body[10:20])
    assert got.headers["Content-Range"] == f"bytes 10-19/{SIZE}"


async def test_a_transfer_that_breaks_goes_on(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    fault = stall(gate, at=100_000).combined_with(cut(at=100_000)).combined_with(no_length())
    upstream.faults.add(fault, on=wanted.digest)

    async with cache.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(100_000 - TAIL)
        gate.open()
        rest = await response.read()

    assert begun + rest == wanted.body
    assert upstream.requests[-1].headers["Range"] == "bytes=100000-"


async def test_wrong_content_never_ends(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(no_length().combined_with(wrong_byte(5)), on=wanted.digest)

    got = await cache.get(path_of(wanted.digest))

    assert not got.is_complete
    assert len(got.body) <= SIZE - TAIL
    assert not cache.holds(wanted.digest)


async def test_the_first_bytes_come_before_the_last_ones_are_there(cache, upstream):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(no_length().combined_with(stall(gate, at=200_000)), on=wanted.digest)

    async with cache.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(200_000 - TAIL)
        gate.open()
        rest = await response.read()

    assert begun + rest == wanted.body


async def test_a_client_of_http_1_0_which_has_no_chunks_is_asked_to_come_back(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(no_length(), on=wanted.digest)
    port = int(cache.url.rpartition(":")[2])

    answers = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path_of(wanted.digest)} HTTP/1.0\r\n\r\n".encode())
        answers.append(await reader.read())
        writer.close()
        await cache.wait_for_fills()

    assert answers[0].split(b"\r\n")[0].split()[1] == b"503"
    assert answers[1].endswith(wanted.body)
