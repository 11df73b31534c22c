"""Miss: one upstream request serves all who ask, in all workers, while it arrives."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builders import blob, image
from tests.fakes.faults import answer, never_answer, slow_headers, stall
from tests.fakes.signals import Gate
from tests.fakes.vanishing import refused_port
from tests.integration.harness import Cache, read

NAME = "library/alpine"
SIZE = 300_000
TAIL = 64 * 1024


def path_of(digest: str) -> str:
    return f"/v2/{NAME}/blobs/{digest}"


async def ask_all(caches: tuple[Cache, ...], count: int, path: str):
    """Ask `count` times at once, in turn at each cache."""
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(caches[number % len(caches)].get(path)) for number in range(count)]
    return [task.result() for task in asked]


async def test_the_first_bytes_come_before_the_last_ones_are_there(cache, upstream):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=150_000), on=wanted.digest)

    async with cache.open(path_of(wanted.digest)) as response:
        first = await response.content.readexactly(150_000)
        gate.open()
        rest, is_complete = await read(response)

    assert is_complete
    assert first + rest == wanted.body


async def test_the_tail_is_held_back_until_all_is_verified(cache, upstream):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=SIZE - 1), on=wanted.digest)

    async with cache.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(SIZE - TAIL)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readexactly(1), 0.3)
        gate.open()
        rest, is_complete = await read(response)

    assert is_complete
    assert rest == wanted.body[-TAIL:]


async def test_many_clients_of_all_workers_cost_one_upstream_request(workers, upstream):
    wanted = upstream.add_blob(NAME, SIZE)

    answers = await ask_all(workers, 30, path_of(wanted.digest))

    assert {(got.status, got.body, got.is_complete) for got in answers} == {(200, wanted.body, True)}
    assert upstream.count("GET", wanted.digest) == 1


async def test_who_comes_late_gets_the_bytes_that_are_there(workers, upstream):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=150_000), on=wanted.digest)
    first, second = workers

    async with first.open(path_of(wanted.digest)), second.open(path_of(wanted.digest)) as late:
        got = await late.content.readexactly(150_000)
        gate.open()
        got += await late.read()

    assert got == wanted.body


async def test_a_client_that_leaves_does_not_end_the_fill(cache, upstream):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=150_000), on=wanted.digest)

    async with cache.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(10)
        response.close()
    gate.open()

    assert await cache.wait_for_fills() == ["published"]
    assert cache.holds(wanted.digest)


async def test_a_slow_client_slows_nobody(cache, upstream):
    wanted = upstream.add_blob(NAME, 4_000_000)

    async with cache.open(path_of(wanted.digest)) as slow:
        fast = await cache.get(path_of(wanted.digest))
        assert await cache.wait_for_fills() == ["published"]
        body = await slow.read()

    assert fast.body == body == wanted.body


@pytest.mark.parametrize("size", [0, 1, TAIL, TAIL + 1])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_any_size_and_algorithm_arrives_whole(cache, upstream, size, algorithm):
    wanted = upstream.add_blob(NAME, blob(size, algorithm=algorithm))

    got = await cache.get(path_of(wanted.digest))

    assert (got.body, got.headers["Content-Length"], got.is_complete) == (wanted.body, str(size), True)


@pytest.mark.parametrize(("fault", "status"), [(answer(503), 502), (answer(429), 429), (answer(404), 404)])
async def test_all_who_wait_get_the_same_refusal_of_one_request(workers, upstream, fault, status):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(slow_headers(gate), on=wanted.digest, times=None)
    upstream.faults.add(fault, on=wanted.digest, times=None)

    asking = asyncio.get_running_loop().create_task(ask_all(workers, 20, path_of(wanted.digest)))
    await gate.arrived.wait()
    await asyncio.sleep(0.3)  # until all of them wait
    gate.open()

    assert {got.status for got in await asking} == {status}
    assert upstream.count("GET", wanted.digest) == 1


async def test_what_the_upstream_lacks_is_asked_again_after_a_while_only(workers, upstream, clock):
    missing = blob(SIZE)
    upstream.repository(NAME)

    statuses = [(await cache.get(path_of(missing.digest))).status for cache in workers * 2]
    clock.advance(61)
    upstream.add_blob(NAME, missing)
    later = await workers[1].get(path_of(missing.digest))

    assert statuses == [404] * 4
    assert (later.status, upstream.count("GET", missing.digest)) == (200, 2)


async def test_an_upstream_that_does_not_answer_is_given_up_in_time(start, upstream):
    cache = await start(answer_within=0.5)
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(never_answer(), times=None)

    async with asyncio.timeout(0.9):
        got = await cache.get(path_of(wanted.digest))

    assert (got.status, got.code) == (504, "UNKNOWN")


async def test_an_upstream_that_refuses_connections_is_a_bad_gateway(start):
    with refused_port() as port:
        cache = await start(url=f"http://127.0.0.1:{port}")

        got = await cache.get(path_of(blob(10).digest))

    assert got.status == 502
    assert "cannot connect" in got.message


async def test_a_failed_fill_is_tried_again_by_the_next_who_asks(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(answer(503), on=wanted.digest)

    refused = await cache.get(path_of(wanted.digest))
    served = await cache.get(path_of(wanted.digest))

    assert (refused.status, served.body) == (502, wanted.body)


async def test_a_head_of_a_cold_blob_asks_with_head_and_fills_nothing(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)

    got = await cache.head(path_of(wanted.digest))

    assert (got.status, got.headers["Content-Length"]) == (200, str(SIZE))
    assert (upstream.count("HEAD"), upstream.count("GET")) == (1, 0)
    assert cache.fills == []


async def test_a_head_of_a_cold_blob_asks_nobody_where_a_manifest_tells_its_size(cache, upstream):
    held = upstream.add_image(NAME, image(layer_size=SIZE), tag="3")
    await cache.get_manifest(NAME, "3")
    upstream.requests.clear()

    got = await cache.head(path_of(held.layers[0].digest))

    assert (got.status, got.headers["Content-Length"]) == (200, str(SIZE))
    assert upstream.requests == []


@pytest.mark.parametrize("place", ["cdn", "registry"])
async def test_a_head_that_the_upstream_refuses_costs_it_one_byte(cache, upstream, place):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.redirects = {"blobs"} if place == "cdn" else set()
    upstream.head_refused = {"blobs"} if place == "registry" else set()

    got = await cache.head(path_of(wanted.digest))

    assert (got.status, got.headers["Content-Length"]) == (200, str(SIZE))
    asked = [seen for seen in (*upstream.requests, *upstream.cdn.requests) if seen.method == "GET"]
    assert {seen.headers["Range"] for seen in asked} == {"bytes=0-0"}


async def test_a_head_of_what_the_upstream_lacks_is_404_without_a_body(cache, upstream):
    upstream.repository(NAME)

    got = await cache.head(path_of(blob(1).digest))

    assert (got.status, got.body) == (404, b"")


@contextmanager
def stuck_leader(spools: Path, digest: str) -> Iterator[None]:
    """Hold the lease of a spool as a worker does that lives and does nothing."""
    record = spools / f"{digest.replace(':', '-')}.record"
    descriptor = os.open(record, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


async def test_clients_pass_by_a_leader_that_is_stuck(cache, upstream, clock):
    wanted = upstream.add_blob(NAME, SIZE)
    clock.advance(10)

    with stuck_leader(cache.parts.layout.spools, wanted.digest):
        got = await cache.get(path_of(wanted.digest))

    assert (got.body, got.is_complete) == (wanted.body, True)


async def test_who_follows_a_leader_that_gets_stuck_goes_on_from_what_is_there(start, upstream, clock):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=150_000), on=wanted.digest)
    leader = await start()
    async with leader.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(150_000)
    await leader.stop()
    clock.advance(10)

    follower = await start()
    with stuck_leader(leader.parts.layout.spools, wanted.digest):
        got = await follower.get(path_of(wanted.digest))

    assert (got.body, got.is_complete) == (wanted.body, True)
    assert upstream.requests[-1].headers["Range"].startswith("bytes=150000-")


async def test_what_one_repository_lacks_another_may_have(workers, upstream, other_upstream):
    upstream.repository(NAME)
    wanted, gate = other_upstream.add_blob("org/app", SIZE), Gate()
    upstream.faults.add(slow_headers(gate), on=wanted.digest)
    first, second = workers

    async with asyncio.TaskGroup() as group:
        lacking = group.create_task(first.get(path_of(wanted.digest)))
        await gate.arrived.wait()
        having = [group.create_task(each.get_blob("ghcr.io/org/app", wanted.digest)) for each in (first, second)]
        await asyncio.sleep(0.3)  # until they wait
        gate.open()

    assert lacking.result().status == 404
    assert {(task.result().status, task.result().body) for task in having} == {(200, wanted.body)}
