"""A client that pushes blobs in every way there is, over whichever workers it likes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from proxycache.oci.digest import parse_digest
from tests.builders import Content
from tests.integration.harness import Answer, Cache

NAME = "local/app"
UPLOADS = f"/v2/{NAME}/blobs/uploads/"


async def begin(cache: Cache, query: str = "") -> str:
    """Begin a session and return its location."""
    answer = await cache.send("POST", UPLOADS + query)
    assert answer.status == 202
    return answer.headers["Location"]


async def patch(cache: Cache, location: str, body: bytes, start: int | None = None) -> Answer:
    headers = {} if start is None else {"Content-Range": f"{start}-{start + len(body) - 1}"}
    return await cache.send("PATCH", location, body, headers)


async def patch_chunked(cache: Cache, location: str, pieces: Sequence[bytes]) -> Answer:
    """Send what has no length."""

    async def generate() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return await cache.send("PATCH", location, generate())


async def finish(cache: Cache, location: str, digest: str, body: bytes = b"", start: int | None = None) -> Answer:
    headers = {} if start is None else {"Content-Range": f"{start}-{start + len(body) - 1}"}
    return await cache.send("PUT", f"{location}?digest={digest}", body, headers)


async def offset(cache: Cache, location: str) -> int:
    """Return how many bytes the session has, of which one and none look alike."""
    answer = await cache.send("GET", location)
    assert answer.status == 204
    assert answer.headers["Location"] == location
    return int(answer.headers["Range"].removeprefix("0-")) + 1


async def push_whole(caches: Sequence[Cache], wanted: Content) -> Answer:
    return await caches[0].send("POST", f"{UPLOADS}?digest={wanted.digest}", wanted.body)


async def push_at_the_end(caches: Sequence[Cache], wanted: Content) -> Answer:
    location = await begin(caches[0])
    return await finish(caches[1], location, wanted.digest, wanted.body)


async def push_as_stream(caches: Sequence[Cache], wanted: Content) -> Answer:
    location = await begin(caches[0])
    pieces = [wanted.body[at : at + 32_000] for at in range(0, wanted.size, 32_000)]
    assert (await patch_chunked(caches[1], location, pieces)).status == 202
    return await finish(caches[0], location, wanted.digest)


async def push_with_length(caches: Sequence[Cache], wanted: Content) -> Answer:
    location = await begin(caches[0])
    assert (await patch(caches[1], location, wanted.body)).status == 202
    return await finish(caches[1], location, wanted.digest)


async def push_in_chunks(caches: Sequence[Cache], wanted: Content) -> Answer:
    location = await begin(caches[0])
    chunk = max(wanted.size // 3, 1)
    for number, at in enumerate(range(0, wanted.size, chunk)):
        answer = await patch(caches[number % 2], location, wanted.body[at : at + chunk], at)
        assert answer.status == 202
        location = answer.headers["Location"]
    return await finish(caches[1], location, wanted.digest)


async def push_last_chunk_at_the_end(caches: Sequence[Cache], wanted: Content) -> Answer:
    location = await begin(caches[0])
    half = wanted.size // 2
    if half:
        assert (await patch(caches[0], location, wanted.body[:half], 0)).status == 202
    return await finish(caches[1], location, wanted.digest, wanted.body[half:], half if wanted.size else None)


WAYS = [
    push_whole,
    push_at_the_end,
    push_as_stream,
    push_with_length,
    push_in_chunks,
    push_last_chunk_at_the_end,
]


def stored(cache: Cache, digest: str) -> bytes | None:
    """Return the bytes of a blob, if it was published."""
    path = cache.parts.layout.blob(parse_digest(digest))
    return path.read_bytes() if path.exists() else None


async def is_linked(cache: Cache, digest: str, name: str = NAME) -> bool:
    """Tell whether the repository may serve the blob."""
    return await cache.parts.tables.local_content.has_link(name, parse_digest(digest))


def sessions(cache: Cache) -> list[Path]:
    """Return the files of sessions."""
    return list(cache.parts.layout.uploads.iterdir())


def data_of(cache: Cache, location: str) -> Path:
    return cache.parts.layout.upload_data(location.rpartition("/")[2])


@contextlib.asynccontextmanager
async def raw_request(
    cache: Cache, method: str, path: str, *headers: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send the head of a request on a connection of its own; closed, without a word, on leaving."""
    host = cache.url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def assert_pushed(cache: Cache, wanted: Content) -> None:
    assert stored(cache, wanted.digest) == wanted.body
    assert await is_linked(cache, wanted.digest)


async def eventually(cache: Cache, location: str, expected: int) -> None:
    """Wait until the session has so much."""
    async with asyncio.timeout(10):
        while await offset(cache, location) != expected:
            await asyncio.sleep(0.01)


async def until_written(cache: Cache, location: str, size: int) -> None:
    """Wait until so much has come to the disk."""
    async with asyncio.timeout(10):
        while data_of(cache, location).stat().st_size < size:
            await asyncio.sleep(0.01)
