"""Transfers that break are resumed where they broke, for as long as that makes progress."""

import asyncio

import pytest

from tests.fakes.auth import TokenAuth
from tests.fakes.faults import Fault, answer, bandwidth, cut, range_ignored, reset, stall, wrong_length
from tests.fakes.signals import Gate
from tests.integration.harness import read

NAME = "library/alpine"
SIZE = 300_000
TAIL = PIECE = 64 * 1024
BREAK = 100_000


def path_of(digest: str) -> str:
    return f"/v2/{NAME}/blobs/{digest}"


def asked_ranges(listener) -> list[str]:
    return [seen.headers.get("Range", "") for seen in listener.requests if seen.method == "GET"]


async def get_broken(cache, listener, wanted, fault, *, at: int = BREAK, on: str = ""):
    """Get a blob whose transfer breaks when all before that place has arrived; return what is there then."""
    gate = Gate()
    listener.faults.add(stall(gate, at=at).combined_with(fault(at=at)), on=on or wanted.digest)
    async with cache.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(min(at, SIZE - TAIL))
        gate.open()
        rest, is_complete = await read(response)
    assert is_complete
    return begun + rest


@pytest.mark.parametrize("place", [0, 1, BREAK])
@pytest.mark.parametrize("fault", [cut, reset])
async def test_a_broken_transfer_goes_on_where_it_broke(cache, upstream, fault, place):
    wanted = upstream.add_blob(NAME, SIZE)

    body = await get_broken(cache, upstream, wanted, fault, at=place)

    assert body == wanted.body
    assert asked_ranges(upstream) == ["", f"bytes={place}-" if place else ""]


async def test_what_arrives_together_with_the_break_is_not_lost(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(cut(at=BREAK), on=wanted.digest)

    got = await cache.get(path_of(wanted.digest))

    assert got.body == wanted.body
    assert asked_ranges(upstream) == ["", f"bytes={BREAK}-"]


@pytest.mark.parametrize("fault", [cut, reset])
async def test_a_transfer_may_break_at_its_last_byte(cache, upstream, fault):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(fault(at=SIZE - 1), on=wanted.digest)

    got = await cache.get(path_of(wanted.digest))

    assert (got.body, got.is_complete) == (wanted.body, True)


async def test_a_transfer_that_stalls_goes_on(start, upstream):
    cache = await start(stall_timeout=0.3)
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=BREAK), on=wanted.digest)

    got = await cache.get(path_of(wanted.digest))

    assert (got.body, got.is_complete) == (wanted.body, True)
    assert asked_ranges(upstream) == ["", f"bytes={BREAK}-"]


async def test_a_transfer_goes_on_for_as_long_as_it_makes_progress(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(cut(after=2 * PIECE).combined_with(bandwidth(10_000_000)), on=wanted.digest, times=None)

    got = await cache.get(path_of(wanted.digest))

    assert (got.body, got.is_complete) == (wanted.body, True)
    assert upstream.count("GET") > 2


async def test_an_upstream_that_ignores_the_range_is_used_all_the_same(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(range_ignored(), on=wanted.digest, times=None)

    body = await get_broken(cache, upstream, wanted, cut)

    assert body == wanted.body
    assert upstream.count("GET") == 2


@pytest.mark.parametrize("trouble", [answer(503), answer(500), cut(at=BREAK)])
async def test_trouble_while_resuming_is_no_end(cache, upstream, trouble: Fault):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(cut(at=BREAK), on=wanted.digest)
    async with cache.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(10)
        upstream.faults.add(trouble, on=wanted.digest)
        rest, is_complete = await read(response)

    assert is_complete
    assert wanted.body.endswith(rest)


async def test_the_next_mirror_goes_on_where_one_broke(start, upstream, other_upstream):
    cache = await start(mirrors=(other_upstream.url,))
    wanted = upstream.add_blob(NAME, SIZE)
    other_upstream.add_blob(NAME, wanted)

    body = await get_broken(cache, other_upstream, wanted, cut)

    assert body == wanted.body
    assert (asked_ranges(other_upstream), asked_ranges(upstream)) == ([""], [f"bytes={BREAK}-"])


async def test_the_upstream_goes_on_where_a_mirror_vanished(start, upstream, other_upstream):
    cache = await start(mirrors=(other_upstream.url,))
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    other_upstream.add_blob(NAME, wanted)
    other_upstream.faults.add(stall(gate, at=BREAK))

    async with cache.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(BREAK)
        await other_upstream.stop()
        rest, is_complete = await read(response)

    assert is_complete
    assert begun + rest == wanted.body


async def test_a_token_that_expires_in_mid_pull_is_asked_for_anew(cache, upstream):
    upstream.auth = auth = TokenAuth()
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    await cache.head(path_of(wanted.digest))
    upstream.faults.add(stall(gate, at=BREAK).combined_with(cut(at=BREAK)), on=wanted.digest)

    async with cache.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(BREAK)
        auth.revoke_all()
        gate.open()
        rest, is_complete = await read(response)

    assert is_complete
    assert begun + rest == wanted.body
    assert len(auth.requests) == 2


@pytest.mark.parametrize("relative", [True, False])
async def test_a_signed_url_is_asked_for_anew(cache, upstream, relative):
    upstream.redirects, upstream.relative_redirects = {"blobs"}, relative
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    source = upstream if relative else upstream.cdn
    on = "/direct/" if relative else "/content/"
    source.faults.add(stall(gate, at=BREAK).combined_with(cut(at=BREAK)), on=on)

    async with cache.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(BREAK)
        upstream.cdn.expire()
        gate.open()
        rest, is_complete = await read(response)

    assert is_complete
    assert begun + rest == wanted.body
    assert upstream.count("GET", f"/blobs/{wanted.digest}") == 2


async def test_what_a_worker_left_is_not_fetched_again_after_a_restart(start, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=BREAK), on=wanted.digest)
    before = await start()
    async with before.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(BREAK)
        await before.stop()

    got = await (await start()).get(path_of(wanted.digest))

    assert got.body == wanted.body
    assert asked_ranges(upstream) == ["", f"bytes={BREAK}-"]


async def test_a_worker_that_ends_leaves_its_fill_to_another_workers_clients(workers, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=BREAK), on=wanted.digest)
    leader, other = workers

    async with leader.open(path_of(wanted.digest)) as cut_off, other.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(BREAK)
        await cut_off.content.readexactly(BREAK)
        await leader.stop()
        rest, is_complete = await read(response)

    assert is_complete
    assert begun + rest == wanted.body
    assert asked_ranges(upstream) == ["", f"bytes={BREAK}-"]


async def test_a_wrong_length_is_found_out_and_forgiven(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_length(50), on=wanted.digest)

    first = await cache.get(path_of(wanted.digest))
    again = await cache.get(path_of(wanted.digest))
    rest = await cache.get_range(NAME, wanted.digest, "100-199")

    assert not first.is_complete
    assert (again.body, again.is_complete, rest.status) == (wanted.body, True, 206)


async def test_a_transfer_that_gets_nowhere_ends_by_a_cut(cache, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=BREAK).combined_with(cut(at=BREAK)), on=wanted.digest, times=None)

    async with asyncio.timeout(20), cache.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(BREAK)
        gate.open()
        rest, is_complete = await read(response)

    assert (rest, is_complete) == (b"", False)
    assert await cache.wait_for_fills() == ["failed"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_was_left_half_way_promises_nothing_when_the_upstream_is_gone(start, upstream, method):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=BREAK), on=wanted.digest)
    before = await start()
    async with before.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(BREAK)
    await before.stop()
    await upstream.stop()

    got = await (await start()).ask(method, path_of(wanted.digest))

    assert (got.status, got.is_complete) == (502, True)


async def test_a_spool_that_was_left_half_way_survives_an_upstream_that_is_gone_for_a_while(start, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=BREAK), on=wanted.digest)
    before = await start()
    async with before.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(BREAK)
    await before.stop()
    await upstream.stop()
    cache = await start()
    await cache.get(path_of(wanted.digest))
    await upstream.start()

    got = await cache.get(path_of(wanted.digest))

    assert got.body == wanted.body
    assert asked_ranges(upstream)[-1] == f"bytes={BREAK}-"


async def test_what_was_left_half_way_promises_nothing_when_the_upstream_is_silent(start, upstream):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=BREAK), on=wanted.digest)
    before = await start()
    async with before.open(path_of(wanted.digest)) as response:
        await response.content.readexactly(BREAK)
    await before.stop()
    upstream.silent = True

    got = await (await start(answer_within=0.5)).get(path_of(wanted.digest))

    assert (got.status, got.is_complete) == (504, True)
