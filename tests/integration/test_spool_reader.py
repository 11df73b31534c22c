"""Readers of a spool whose leader, another worker, does the worst that it can at the worst moment.

The test itself is that other worker: it leads the spool, by hand.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from proxycache.events import BytesFetched
from proxycache.oci.digest import digest_of, parse_digest
from proxycache.registry.access import Caller
from proxycache.registry.fill_blob import Fills
from proxycache.registry.spool_reader import STUCK_AFTER_SECONDS, FilePart, SpoolReader
from proxycache.store.blobs import BlobStore
from proxycache.store.spool import Spool, Spools
from proxycache.store.spool_writer import SpoolWriter
from proxycache.upstream.errors import UpstreamMisbehaved
from tests.builders import Content
from tests.fakes.clock import FakeClock
from tests.fakes.faults import cut, stall, wrong_length
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache

NAME = "library/alpine"
SIZE = 400_000
PLACE = 200_000


@pytest.fixture
def wanted(upstream: FakeRegistry) -> Content:
    return upstream.add_blob(NAME, SIZE)


@pytest.fixture
async def led(cache: Cache, clock: FakeClock, wanted: Content) -> AsyncIterator[tuple[Spool, SpoolWriter]]:
    """The spool as its leader has it, half full."""
    with Spools(cache.parts.layout, clock).use(parse_digest(wanted.digest)) as spool:
        writer = spool.try_lead(f"docker.io/{NAME}")
        assert writer is not None
        writer.begin(SIZE)
        writer.append([wanted.body[:PLACE]])
        yield spool, writer


@pytest.fixture
async def reader(cache: Cache, wanted: Content, led: object) -> AsyncIterator[SpoolReader]:
    services = cache.parts.fill_services
    access = cache.edge.services.access
    source = await access.open(access.route(NAME, None, ""), Caller(is_loopback=True))
    with services.spools.use(parse_digest(wanted.digest)) as spool:
        yield SpoolReader(Fills(services), source, spool, SIZE)


def bytes_of(part: FilePart | bytes) -> bytes:
    if isinstance(part, bytes):
        return part
    part.file.seek(part.offset)
    content = part.file.read(part.size)
    assert len(content) == part.size
    return content


async def start_waiting(parts: AsyncGenerator[FilePart | bytes, None]) -> "asyncio.Task[FilePart | bytes]":
    """Ask for the next part, which is not there yet."""
    waiting = asyncio.get_running_loop().create_task(anext(parts))
    await asyncio.wait([waiting], timeout=0.01)
    assert not waiting.done()
    return waiting


async def read(reader: SpoolReader, start: int = 0, stop: int = SIZE) -> bytes:
    return b"".join([bytes_of(part) async for part in reader.parts(start, stop)])


async def test_who_has_bytes_of_a_fill_that_starts_over_is_cut(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter]
) -> None:
    async with aclosing(reader.parts(0, SIZE)) as parts:
        await anext(parts)
        led[1].start_over()

        with pytest.raises(UpstreamMisbehaved):
            await anext(parts)


async def test_who_has_no_byte_yet_goes_on_with_a_fill_that_starts_over(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter], wanted: Content
) -> None:
    writer = led[1]
    async with aclosing(reader.parts(PLACE + 1, SIZE)) as parts:
        waiting = await start_waiting(parts)
        writer.start_over()
        writer.begin(SIZE)
        writer.append([wanted.body])
        assert writer.verify()

        got = bytes_of(await waiting)
        got += b"".join([bytes_of(part) async for part in parts])

    assert got == wanted.body[PLACE + 1 :]


async def test_who_was_told_another_size_is_cut_though_no_byte_was_sent(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter]
) -> None:
    writer = led[1]
    async with aclosing(reader.parts(PLACE + 1, SIZE)) as parts:
        waiting = await start_waiting(parts)
        writer.start_over()
        writer.begin(SIZE * 2)
        writer.append([bytes(SIZE * 2)])

        with pytest.raises(UpstreamMisbehaved):
            await waiting


async def test_what_a_leader_published_without_saying_so_is_read_on(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter], wanted: Content, cache: Cache, clock: FakeClock
) -> None:
    spool, writer = led
    layout = cache.parts.layout
    async with aclosing(reader.parts(0, SIZE)) as parts:
        got = bytes_of(await anext(parts))
        writer.append([wanted.body[PLACE:]])
        await asyncio.to_thread(BlobStore(layout).publish, spool.digest, layout.spool_data(spool.digest))
        clock.advance(STUCK_AFTER_SECONDS + 1)
        got += b"".join([bytes_of(part) async for part in parts])

    assert got == wanted.body
    assert not any(isinstance(event, BytesFetched) for event in cache.events)


async def test_a_leader_that_is_stuck_is_passed_with_what_it_has_written(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter], wanted: Content, clock: FakeClock, upstream: FakeRegistry
) -> None:
    clock.advance(STUCK_AFTER_SECONDS + 1)

    assert await read(reader) == wanted.body
    assert [seen.headers["Range"] for seen in upstream.requests] == [f"bytes={PLACE}-{SIZE - 1}"]


async def test_a_range_ahead_of_a_leader_that_is_stuck_is_verified_by_what_upstream_sends(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter], wanted: Content, clock: FakeClock
) -> None:
    clock.advance(STUCK_AFTER_SECONDS + 1)

    assert await read(reader, start=PLACE + 50_000) == wanted.body[PLACE + 50_000 :]


async def test_a_stuck_leader_that_starts_over_cuts_who_passed_it(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter], wanted: Content, clock: FakeClock, upstream: FakeRegistry
) -> None:
    gate = Gate()
    upstream.faults.add(stall(gate, after=1000), on=wanted.digest)
    clock.advance(STUCK_AFTER_SECONDS + 1)
    async with aclosing(reader.parts(0, SIZE)) as parts:
        await anext(parts)
        await anext(parts)
        led[1].start_over()
        gate.open()

        with pytest.raises(UpstreamMisbehaved):
            _ = [part async for part in parts]


async def test_a_leader_that_ends_without_a_word_is_followed_by_this_worker(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter], wanted: Content, upstream: FakeRegistry
) -> None:
    spool, writer = led
    spool.end_lead(writer)

    assert await read(reader) == wanted.body
    assert [seen.headers["Range"] for seen in upstream.requests] == [f"bytes={PLACE}-"]


async def test_a_spool_whose_files_are_gone_is_passed(
    reader: SpoolReader, led: tuple[Spool, SpoolWriter], wanted: Content, upstream: FakeRegistry
) -> None:
    spool, writer = led
    writer.discard()
    spool.end_lead(writer)

    assert await read(reader) == wanted.body
    assert len(upstream.requests) == 1


async def test_two_sources_that_disagree_on_the_size_are_not_asked_for_ever(start, upstream, other_upstream) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    other_upstream.add_blob(NAME, wanted)
    for registry, difference in ((upstream, 1000), (other_upstream, 2000)):
        registry.faults.add(wrong_length(difference), on=wanted.digest, times=None)
        registry.faults.add(cut(after=5000), on=wanted.digest, times=None)
    cache = await start(mirrors=(other_upstream.url,))

    got = await cache.get_blob(NAME, wanted.digest)

    assert not got.is_complete or got.status == 502
    assert len(upstream.requests) + len(other_upstream.requests) <= 6


async def test_a_size_that_turned_out_wrong_leaves_nothing_in_the_blob(start, upstream, other_upstream) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    other_upstream.add_blob(NAME, wanted)
    other_upstream.faults.add(wrong_length(70_000), on=wanted.digest)
    cache = await start(mirrors=(other_upstream.url,))

    first = await cache.get_blob(NAME, wanted.digest)
    await cache.wait_for_fills()
    again = await cache.get_blob(NAME, wanted.digest)
    while "published" not in cache.fills:
        await cache.wait_for_fills(len(cache.fills) + 1)

    assert not first.is_complete
    assert (again.body, again.is_complete) == (wanted.body, True)
    assert digest_of(again.body) == parse_digest(wanted.digest)
    blob = cache.parts.layout.blob(parse_digest(wanted.digest))
    assert blob.stat().st_size == SIZE
