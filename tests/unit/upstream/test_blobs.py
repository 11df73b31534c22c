"""Blobs are streamed as they arrive; ranges and lengths are what they claim to be."""

import pytest
from aiohttp import web

from proxycache.events import BytesFetched, Event
from proxycache.oci.digest import Digest, digest_of, parse_digest
from proxycache.upstream.client import UpstreamBlob, UpstreamClient
from proxycache.upstream.errors import UpstreamError, UpstreamMisbehaved, UpstreamNotFound, UpstreamUnreachable
from tests.fakes.faults import (
    Fault,
    bandwidth,
    cut,
    no_length,
    range_ignored,
    reset,
    stall,
    without_header,
    wrong_length,
)
from tests.fakes.upstream_registry import FakeRegistry
from tests.unit.upstream.conftest import MakeClient
from tests.unit.upstream.servers import serving

SIZE = 300_000


@pytest.fixture
def digest(registry: FakeRegistry) -> Digest:
    return parse_digest(registry.add_blob("library/app", SIZE).digest)


@pytest.fixture
def content(registry: FakeRegistry, digest: Digest) -> bytes:
    return registry.repository("library/app").blobs[str(digest)].body


async def read(blob: UpstreamBlob) -> bytes:
    return b"".join([piece async for piece in blob.pieces()])


async def read_until_broken(blob: UpstreamBlob) -> tuple[bytes, UpstreamError | None]:
    received = bytearray()
    try:
        async for piece in blob.pieces():
            received += piece
    except UpstreamError as error:
        return bytes(received), error
    return bytes(received), None


async def test_a_whole_blob(
    registry: FakeRegistry, client: UpstreamClient, digest: Digest, content: bytes, seen: list[Event]
) -> None:
    async with client.open_blob("library/app", digest) as blob:
        assert (blob.start, blob.total, blob.source) == (0, SIZE, registry.url)
        assert await read(blob) == content

    assert "Range" not in registry.requests[0].headers
    assert sum(event.size for event in seen if isinstance(event, BytesFetched)) == SIZE


@pytest.mark.parametrize(
    ("part", "header"),
    [
        (slice(0, 1), "bytes=0-0"),
        (slice(10, None), "bytes=10-"),
        (slice(10, 20), "bytes=10-19"),
        (slice(SIZE - 1, SIZE), "bytes=299999-299999"),
    ],
)
async def test_a_part(registry: FakeRegistry, client: UpstreamClient, content: bytes, part: slice, header: str) -> None:
    async with client.open_blob("library/app", digest_of(content), start=part.start, stop=part.stop) as blob:
        assert (blob.start, blob.total) == (part.start, SIZE)
        assert await read(blob) == content[part]

    assert registry.requests[0].headers["Range"] == header


async def test_a_range_that_is_ignored(
    registry: FakeRegistry, client: UpstreamClient, digest: Digest, content: bytes
) -> None:
    registry.faults.add(range_ignored())

    async with client.open_blob("library/app", digest, start=10) as blob:
        assert (blob.start, blob.total) == (0, SIZE)
        assert await read(blob) == content


async def test_a_blob_without_a_length(
    registry: FakeRegistry, client: UpstreamClient, digest: Digest, content: bytes
) -> None:
    registry.faults.add(no_length())

    async with client.open_blob("library/app", digest) as blob:
        assert blob.total is None
        assert await read(blob) == content


async def test_a_range_behind_the_end(client: UpstreamClient, digest: Digest) -> None:
    with pytest.raises(UpstreamMisbehaved, match="416"):
        async with client.open_blob("library/app", digest, start=SIZE):
            pytest.fail("opened")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Range": "bytes"},
        {"Content-Range": "bytes 0-9/300000"},
        {"Content-Range": "bytes 11-20/300000"},
        {"Content-Range": "bytes 10-20/300000"},
        {"Content-Range": "bytes 10-18/300000"},
    ],
)
async def test_another_part_than_asked_for(
    registry: FakeRegistry, client: UpstreamClient, digest: Digest, headers: dict[str, str]
) -> None:
    registry.faults.add(Fault(status=206, headers=headers, body=b"0123456789"))

    with pytest.raises(UpstreamMisbehaved, match="partial answer"):
        async with client.open_blob("library/app", digest, start=10, stop=20):
            pytest.fail("opened")


@pytest.mark.parametrize("fault", [cut(after=100_000), reset(after=100_000), wrong_length(10)])
async def test_a_body_that_breaks_off(
    registry: FakeRegistry, client: UpstreamClient, digest: Digest, content: bytes, fault: Fault
) -> None:
    registry.faults.add(fault)

    async with client.open_blob("library/app", digest) as blob:
        received, error = await read_until_broken(blob)

    assert content.startswith(received)
    assert len(received) >= 100_000
    assert isinstance(error, UpstreamUnreachable)
    assert not error.timed_out


async def test_slow_bytes_are_not_late(
    registry: FakeRegistry, make_client: MakeClient, digest: Digest, content: bytes
) -> None:
    registry.faults.add(bandwidth(300_000))

    async with make_client(answer_within=0.7).open_blob("library/app", digest) as blob:
        assert await read(blob) == content


async def test_a_body_that_stalls(registry: FakeRegistry, make_client: MakeClient, digest: Digest) -> None:
    registry.faults.add(stall(after=100_000))

    async with make_client(stall_timeout=0.5).open_blob("library/app", digest) as blob:
        with pytest.raises(UpstreamUnreachable) as failed:
            await read(blob)

    assert failed.value.timed_out


async def test_a_body_longer_than_its_range(make_client: MakeClient, digest: Digest) -> None:
    async def send_too_much(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=206, headers={"Content-Range": "bytes 1-3/4"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"12345")
        return response

    async with serving(send_too_much) as url, make_client(url=url).open_blob("library/app", digest, start=1) as blob:
        with pytest.raises(UpstreamMisbehaved, match="more bytes"):
            await read(blob)


async def test_sizes_are_told_by_head(registry: FakeRegistry, client: UpstreamClient, digest: Digest) -> None:
    assert await client.head_blob("library/app", digest) == SIZE
    assert [seen.method for seen in registry.requests] == ["HEAD"]


async def test_sizes_are_told_by_the_first_byte(registry: FakeRegistry, client: UpstreamClient, digest: Digest) -> None:
    registry.head_refused.add("blobs")
    assert await client.head_blob("library/app", digest) == SIZE

    registry.faults.add(range_ignored())
    assert await client.head_blob("library/app", digest) == SIZE


async def test_sizes_behind_a_signed_url(registry: FakeRegistry, client: UpstreamClient, digest: Digest) -> None:
    registry.redirects.add("blobs")

    assert await client.head_blob("library/app", digest) == SIZE
    assert [seen.method for seen in registry.cdn.requests] == ["HEAD", "GET"]


async def test_a_size_that_nobody_tells(registry: FakeRegistry, client: UpstreamClient, digest: Digest) -> None:
    registry.faults.add(no_length(), times=None)
    registry.faults.add(range_ignored(), times=None)
    registry.faults.add(without_header("Content-Length"), times=None)

    with pytest.raises(UpstreamMisbehaved, match="does not tell"):
        await client.head_blob("library/app", digest)


async def test_an_unknown_blob(registry: FakeRegistry, client: UpstreamClient) -> None:
    with pytest.raises(UpstreamNotFound):
        await client.head_blob("library/app", digest_of(b"unknown"))
    assert registry.count() == 1


async def test_a_signed_url_is_asked_for_anew(
    registry: FakeRegistry, client: UpstreamClient, digest: Digest, content: bytes
) -> None:
    registry.redirects.add("blobs")
    registry.cdn.faults.add(cut(after=1000))
    async with client.open_blob("library/app", digest) as blob:
        with pytest.raises(UpstreamUnreachable):
            await read(blob)
    registry.cdn.expire()

    async with client.open_blob("library/app", digest, start=1000) as blob:
        assert await read(blob) == content[1000:]
