"""The line holds over all workers; only that it is never faster decides here."""

import asyncio

import pytest

from proxycache.clock import Clock, SystemClock
from proxycache.oci.digest import parse_digest
from proxycache.policy.bandwidth import Bandwidth, RateRule
from tests.fakes.faults import Fault, Pacer
from tests.integration.harness import Cache, read

NAME = "library/alpine"
MIB = 1024 * 1024
RATE = 8 * MIB


class Counter(Pacer):
    """Counts what the upstream sends, and holds nothing up."""

    def __init__(self) -> None:
        super().__init__(float("inf"))
        self.sent = 0
        self.has_sent = asyncio.Event()

    async def take(self, size: int) -> None:
        self.sent += size
        self.has_sent.set()


@pytest.fixture
def clock() -> Clock:
    return SystemClock()


async def start_two(start) -> tuple[Cache, Cache]:
    bandwidth = Bandwidth(rules=(RateRule(rate=RATE),))
    return await start(bandwidth=bandwidth), await start(bandwidth=bandwidth)


async def test_two_workers_share_the_rate(start, upstream, clock):
    one, other = await start_two(start)
    blobs = [upstream.add_blob(NAME, size) for size in (5 * MIB, 7 * MIB)]
    begun = clock.monotonic()

    async with asyncio.TaskGroup() as group:
        pairs = zip((one, other), blobs, strict=True)
        pulls = [group.create_task(cache.get_blob(NAME, blob.digest)) for cache, blob in pairs]

    assert [pull.result().body for pull in pulls] == [blob.body for blob in blobs]
    assert clock.monotonic() - begun >= 0.85 * 12 * MIB / RATE


async def test_what_passes_through_keeps_to_the_rate(start, upstream, clock):
    bandwidth = Bandwidth(rules=(RateRule(rate=RATE),))
    cache = await start(bandwidth=bandwidth, max_size=2 * MIB)
    wanted = upstream.add_blob(NAME, 8 * MIB)
    begun = clock.monotonic()

    got = await cache.get_blob(NAME, wanted.digest)

    assert got.body == wanted.body
    assert clock.monotonic() - begun >= 0.85 * 8 * MIB / RATE


async def test_a_fill_that_its_reader_left_is_kept_all_the_same(start, upstream):
    cache, _ = await start_two(start)
    wanted = upstream.add_blob(NAME, 6 * MIB)
    async with cache.open(f"/v2/{NAME}/blobs/{wanted.digest}") as response:
        await response.content.readexactly(1)

    assert await cache.wait_for_fills() == ["published"]
    assert cache.holds(wanted.digest)


async def test_what_is_pulled_before_and_after_a_reload_shares_the_rate(start, upstream, clock):
    cache, _ = await start_two(start)
    before, after = upstream.add_blob(NAME, 6 * MIB), upstream.add_blob(NAME, 7 * MIB)
    begun = clock.monotonic()
    async with cache.open(f"/v2/{NAME}/blobs/{before.digest}") as response:
        start_of_body = await response.content.readexactly(1)

        cache.reload()

        async with asyncio.TaskGroup() as group:
            rest, got = group.create_task(read(response)), group.create_task(cache.get_blob(NAME, after.digest))

    assert (start_of_body + rest.result()[0], got.result().body) == (before.body, after.body)
    assert clock.monotonic() - begun >= 0.85 * 13 * MIB / RATE


async def test_a_fill_that_somebody_waits_for_goes_before_one_that_nobody_reads(start, upstream):
    cache, other = await start_two(start)
    left, wanted = upstream.add_blob(NAME, 48 * MIB), upstream.add_blob(NAME, 12 * MIB)
    counter = Counter()
    upstream.faults.add(Fault(pacer=counter), on=left.digest, method="GET", times=None)
    async with cache.open(f"/v2/{NAME}/blobs/{left.digest}") as response:
        await response.content.readexactly(5 * MIB)  # behind the beginning, which goes before bulk in any case
    with cache.parts.fill_services.spools.use(parse_digest(left.digest)) as spool:
        while spool.is_wanted():
            await asyncio.sleep(0.05)
    before = counter.sent

    got = await other.get_blob(NAME, wanted.digest)

    assert got.body == wanted.body
    assert counter.sent - before < wanted.size / 4
    assert cache.fills == []  # it was not over, and goes on now
    counter.has_sent.clear()
    await counter.has_sent.wait()
