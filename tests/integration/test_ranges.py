"""Ranges on held blobs and on those that are on their way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxycache.registry.pull_blob import FAR_AHEAD_BYTES
from tests.builders import Content, blob
from tests.fakes.faults import stall, wrong_byte
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache, read

NAME = "library/alpine"
SIZE = 300_000
TAIL = 64 * 1024
FAR = FAR_AHEAD_BYTES + 400_000
FAR_SIZE = FAR + 200_000

SATISFIABLE = [
    ("0-0", 0, 1),
    ("0-99", 0, 100),
    ("100-199999", 100, 200_000),
    ("1000-", 1000, SIZE),
    ("0-", 0, SIZE),
    ("-1", SIZE - 1, SIZE),
    ("-70000", SIZE - 70_000, SIZE),
    (f"-{2 * SIZE}", 0, SIZE),
    (f"299999-{10 * SIZE}", SIZE - 1, SIZE),
]
UNSATISFIABLE = [f"{SIZE}-", f"{SIZE + 5}-{SIZE + 6}", "-0", "5-1"]
IGNORED = ["bytes=0-1,5-6", "bytes=-", "bytes=a-b", "lines=0-5", "nonsense"]


@pytest.fixture(scope="module")
def far_blob() -> Content:
    return blob(FAR_SIZE)


def path_of(content: Content) -> str:
    return f"/v2/{NAME}/blobs/{content.digest}"


@asynccontextmanager
async def stalled_fill(cache: Cache, upstream: FakeRegistry, content: Content) -> AsyncIterator[Gate]:
    """A fill that has 100,000 bytes and gets no more until the gate opens."""
    gate = Gate()
    upstream.faults.add(stall(gate, at=100_000), on=content.digest)
    async with cache.open(path_of(content)) as response:
        await response.content.readexactly(min(100_000, content.size - TAIL))
        yield gate
        gate.open()


async def hold(cache: Cache, upstream: FakeRegistry) -> Content:
    content = upstream.add_blob(NAME, SIZE)
    await cache.get_blob(NAME, content.digest)
    await cache.wait_for_fills()
    return content


@pytest.mark.parametrize(("wanted", "start_at", "stop"), SATISFIABLE)
async def test_a_range_of_a_held_blob_is_exact(cache, upstream, wanted, start_at, stop):
    content = await hold(cache, upstream)

    got = await cache.get_range(NAME, content.digest, wanted)

    assert (got.status, got.body) == (206, content.body[start_at:stop])
    assert got.headers["Content-Range"] == f"bytes {start_at}-{stop - 1}/{SIZE}"
    assert got.headers["Content-Length"] == str(stop - start_at)


@pytest.mark.parametrize(("wanted", "start_at", "stop"), SATISFIABLE)
async def test_a_range_of_a_blob_on_its_way_is_exact(workers, upstream, wanted, start_at, stop):
    content = upstream.add_blob(NAME, SIZE)
    first, second = workers

    asked = {"Range": f"bytes={wanted}"}
    async with stalled_fill(first, upstream, content) as gate, second.open(path_of(content), asked) as response:
        gate.open()
        body, is_complete = await read(response)

    assert (response.status, is_complete) == (206, True)
    assert body == content.body[start_at:stop]
    assert response.headers["Content-Range"] == f"bytes {start_at}-{stop - 1}/{SIZE}"
    assert upstream.count("GET", content.digest) == 1


@pytest.mark.parametrize("wanted", UNSATISFIABLE)
@pytest.mark.parametrize("is_held", [True, False])
async def test_a_range_outside_of_the_blob_is_416(cache, upstream, wanted, is_held):
    content = await hold(cache, upstream) if is_held else upstream.add_blob(NAME, SIZE)

    got = await cache.get_range(NAME, content.digest, wanted)

    assert (got.status, got.headers["Content-Range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize("header", IGNORED)
async def test_a_range_header_that_is_not_one_range_is_ignored(cache, upstream, header):
    content = await hold(cache, upstream)

    got = await cache.get_blob(NAME, content.digest, {"Range": header})

    assert (got.status, got.body) == (200, content.body)
    assert "Content-Range" not in got.headers


@pytest.mark.parametrize(("condition", "status"), [('"{}"', 206), ('"sha256:other"', 200), ('W/"{}"', 200)])
async def test_a_range_counts_only_for_the_content_that_if_range_names(cache, upstream, condition, status):
    content = await hold(cache, upstream)
    headers = {"Range": "bytes=5-9", "If-Range": condition.format(content.digest)}

    got = await cache.get_blob(NAME, content.digest, headers)

    assert (got.status, got.body) == (status, content.body[5:10] if status == 206 else content.body)


async def test_a_head_knows_no_range(cache, upstream):
    content = await hold(cache, upstream)

    got = await cache.head(path_of(content), {"Range": "bytes=5-9"})

    assert (got.status, got.headers["Content-Length"]) == (200, str(SIZE))


async def test_a_small_range_does_not_become_what_the_next_client_gets(cache, upstream):
    content = upstream.add_blob(NAME, 1000)

    bodies = [(await cache.get_blob(NAME, content.digest)).body for _ in range(2)]
    part = await cache.get_range(NAME, content.digest, "10-19")
    again = await cache.get_blob(NAME, content.digest)

    assert (part.body, [*bodies, again.body]) == (content.body[10:20], [content.body] * 3)


async def test_a_range_a_little_ahead_waits_in_the_open_response(cache, upstream):
    content = upstream.add_blob(NAME, SIZE)

    near = {"Range": "bytes=200000-200009"}
    async with stalled_fill(cache, upstream, content) as gate, cache.open(path_of(content), near) as response:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readexactly(1), 0.2)
        gate.open()
        body = await response.read()

    assert (response.status, body) == (206, content.body[200_000:200_010])
    assert upstream.count("GET", content.digest) == 1


async def test_a_range_before_the_end_of_what_is_there_comes_at_once(cache, upstream):
    content = upstream.add_blob(NAME, SIZE)

    async with stalled_fill(cache, upstream, content):
        got = await cache.get_range(NAME, content.digest, "50000-59999")

    assert got.body == content.body[50_000:60_000]


@pytest.mark.parametrize(
    ("wanted", "part"), [(f"{FAR}-{FAR + 99}", slice(FAR, FAR + 100)), ("-100", slice(-100, None))]
)
async def test_a_range_far_ahead_gets_a_request_of_its_own_at_once(cache, upstream, far_blob, wanted, part):
    content = upstream.add_blob(NAME, far_blob)

    async with stalled_fill(cache, upstream, content):
        got = await cache.get_range(NAME, content.digest, wanted)
        await cache.stop()

    assert (got.status, got.body) == (206, content.body[part])
    assert [seen.headers.get("Range", "") for seen in upstream.requests][1].startswith("bytes=")


async def test_an_open_ended_range_far_ahead_gets_all_but_the_tail_at_once(cache, upstream, far_blob):
    content = upstream.add_blob(NAME, far_blob)

    far = {"Range": f"bytes={FAR}-"}
    async with stalled_fill(cache, upstream, content) as gate, cache.open(path_of(content), far) as response:
        body = await response.content.readexactly(FAR_SIZE - FAR - TAIL)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readexactly(1), 0.3)
        gate.open()
        body += await response.read()

    assert body == content.body[FAR:]


async def test_an_open_ended_range_far_ahead_is_cut_when_the_fill_turns_out_wrong(cache, upstream, far_blob):
    content, gate = upstream.add_blob(NAME, far_blob), Gate()
    upstream.faults.add(stall(gate, at=100_000).combined_with(wrong_byte(5)), on=content.digest)

    async with cache.open(path_of(content)) as whole:
        await whole.content.readexactly(10)
        async with cache.open(path_of(content), {"Range": f"bytes={FAR}-"}) as response:
            gate.open()
            body, is_complete = await read(response)

    assert not is_complete
    assert len(body) <= FAR_SIZE - FAR - TAIL
