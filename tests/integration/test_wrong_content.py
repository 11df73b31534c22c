"""Wrong content never completes for anybody, and nobody puts a right end on a wrong beginning."""

import asyncio

import pytest

from proxycache.store.spool import DISTRUST_SECONDS
from tests.builders import blob
from tests.fakes.faults import cut, slow_headers, stall, wrong_byte
from tests.fakes.signals import Gate
from tests.integration.harness import read

NAME = "library/alpine"
SIZE = 300_000
SMALL = 1000
TAIL = 64 * 1024


def path_of(digest: str) -> str:
    return f"/v2/{NAME}/blobs/{digest}"


@pytest.mark.parametrize("place", [0, 150_000, SIZE - 1])
async def test_no_client_of_any_worker_gets_the_end_of_wrong_content(workers, upstream, place):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(wrong_byte(place).combined_with(stall(gate, at=SIZE - 10)), on=wanted.digest)
    first, second = workers

    async with first.open(path_of(wanted.digest)) as one, second.open(path_of(wanted.digest)) as other:
        gate.open()
        got = [await read(one), await read(other)]

    assert [is_complete for _, is_complete in got] == [False, False]
    assert max(len(body) for body, _ in got) <= SIZE - TAIL
    assert not first.holds(wanted.digest)


async def test_wrong_content_smaller_than_the_tail_goes_to_nobody(cache, upstream):
    wanted = upstream.add_blob(NAME, SMALL)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)

    got = await cache.get(path_of(wanted.digest))

    assert not got.is_complete
    assert got.body == b""
    assert cache.fills == ["wrong_content"]


@pytest.mark.parametrize("wanted_range", ["1-", "100-199", "-10"])
async def test_a_rest_is_refused_by_every_worker_and_after_a_restart(start, upstream, wanted_range):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)
    first, second = await start(), await start()
    await first.get(path_of(wanted.digest))

    refused = [await cache.get_range(NAME, wanted.digest, wanted_range) for cache in (first, second)]
    await first.stop()
    await second.stop()
    refused.append(await (await start()).get_range(NAME, wanted.digest, wanted_range))

    assert [got.status for got in refused] == [502] * 3


async def test_a_rest_is_refused_though_the_right_content_is_held_by_now(workers, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)
    first, second = workers
    await first.get(path_of(wanted.digest))

    whole = await second.get(path_of(wanted.digest))
    rest = await first.get_range(NAME, wanted.digest, "100-")

    assert (whole.body, whole.is_complete) == (wanted.body, True)
    assert rest.status == 502


async def test_a_rest_is_served_again_when_a_minute_has_passed(cache, upstream, clock):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)
    await cache.get(path_of(wanted.digest))
    await cache.get(path_of(wanted.digest))

    clock.advance(DISTRUST_SECONDS + 1)
    got = await cache.get_range(NAME, wanted.digest, "100-199")

    assert (got.status, got.body) == (206, wanted.body[100:200])


async def test_a_clock_that_is_set_back_does_not_prolong_the_minute(cache, upstream, clock):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)
    await cache.get(path_of(wanted.digest))
    await cache.get(path_of(wanted.digest))

    clock.jump(-86_400)
    got = await cache.get_range(NAME, wanted.digest, "100-199")

    assert got.status == 206


@pytest.mark.parametrize("wanted_range", ["0-99", "0-"])
async def test_a_range_from_the_start_is_asked_for_again(cache, upstream, wanted_range):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)
    await cache.get(path_of(wanted.digest))

    got = await cache.get_range(NAME, wanted.digest, wanted_range)

    assert (got.status, got.is_complete) == (206, True)
    assert wanted.body.startswith(got.body)


async def test_readers_without_a_byte_join_the_retry_on_the_next_mirror(start, upstream, other_upstream):
    cache = await start(mirrors=(other_upstream.url,))
    wanted = upstream.add_blob(NAME, SMALL)
    other_upstream.add_blob(NAME, wanted)
    other_upstream.faults.add(wrong_byte(5), times=None)

    got = await cache.get(path_of(wanted.digest))

    assert (got.body, got.is_complete) == (wanted.body, True)
    assert (other_upstream.count("GET"), upstream.count("GET")) == (1, 1)


async def test_readers_with_a_byte_are_cut_and_the_next_ones_get_the_next_mirrors(start, upstream, other_upstream):
    cache = await start(mirrors=(other_upstream.url,))
    wanted = upstream.add_blob(NAME, SIZE)
    other_upstream.add_blob(NAME, wanted)
    other_upstream.faults.add(wrong_byte(5), times=None)

    async with cache.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(10)
        _, is_complete = await read(response)
    again = await cache.get(path_of(wanted.digest))

    assert not is_complete
    assert (again.body, await cache.wait_for_fills()) == (wanted.body, ["published"])


async def test_a_mirror_that_was_wrong_is_passed_over_by_other_workers_too(start, upstream, other_upstream):
    first, second = [await start(mirrors=(other_upstream.url,)) for _ in range(2)]
    wanted = upstream.add_blob(NAME, SMALL)
    other_upstream.add_blob(NAME, wanted)
    for registry in (upstream, other_upstream):
        registry.faults.add(wrong_byte(5), on=wanted.digest)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)

    refused = await first.get(path_of(wanted.digest))
    got = await second.get(path_of(wanted.digest))

    assert (refused.is_complete, got.is_complete) == (False, True)


async def interrupt(start, upstream, wanted, at: int):
    """Leave a spool with `at` bytes behind, as a worker does that ends."""
    gate = Gate()
    upstream.faults.add(stall(gate, at=at), on=wanted.digest)
    cache = await start()
    async with cache.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(at)
    await cache.stop()
    [path] = cache.parts.layout.spools.glob("*.data")
    return path


async def test_nobody_is_blamed_while_bytes_were_inherited(start, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    spool = await interrupt(start, upstream, wanted, at=150_000)
    damaged = bytearray(spool.read_bytes())
    damaged[5] ^= 0xFF
    spool.write_bytes(damaged)

    cache = await start()
    await cache.get(path_of(wanted.digest))
    outcome = await cache.wait_for_fills()
    rest = await cache.get_range(NAME, wanted.digest, "100-199")

    assert outcome == ["published"]
    assert (rest.status, rest.body) == (206, wanted.body[100:200])


async def test_nobody_is_blamed_for_what_two_mirrors_sent_together(start, upstream, other_upstream):
    cache = await start(mirrors=(other_upstream.url,))
    wanted = upstream.add_blob(NAME, SIZE)
    other_upstream.add_blob(NAME, wanted)
    gate = Gate()
    fault = stall(gate, at=100_000).combined_with(cut(at=100_000)).combined_with(wrong_byte(5))
    other_upstream.faults.add(fault)

    async with cache.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(100_000)
        gate.open()
        _, is_complete = await read(response)
    outcome = await cache.wait_for_fills()
    rest = await cache.get_range(NAME, wanted.digest, "100-199")

    assert (is_complete, outcome, rest.status) == (False, ["published"], 206)


async def test_other_content_under_the_digest_completes_for_nobody(cache, upstream):
    wanted, other = blob(SIZE), blob(SIZE + 10, seed="other")
    upstream.repository(NAME).blobs[wanted.digest] = other

    got = [await cache.get(path_of(wanted.digest)) for _ in range(2)]

    # The second is cut as the first, or told what became of the fill if that was just about to end.
    assert [each.status == 200 and each.is_complete for each in got] == [False, False]
    assert not cache.holds(wanted.digest)


async def test_who_asks_while_it_starts_over_waits_for_the_new_headers(start, upstream, other_upstream):
    cache = await start(mirrors=(other_upstream.url,))
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    other_upstream.add_blob(NAME, SIZE)
    other_upstream.faults.add(wrong_byte(5), on=wanted.digest)
    upstream.faults.add(slow_headers(gate), on=wanted.digest)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(cache.get(path_of(wanted.digest)))
        await gate.arrived.wait()
        second = group.create_task(cache.get(path_of(wanted.digest)))
        await asyncio.wait([second], timeout=0.1)
        gate.open()

    assert not first.result().is_complete
    assert (second.result().body, second.result().headers["Content-Length"]) == (wanted.body, str(SIZE))
