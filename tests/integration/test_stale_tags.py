"""A stale tag is better than none, and comes within a second, whatever is wrong with the upstream."""

import asyncio

import pytest

from tests.fakes.faults import answer, rate_limited, slow_headers
from tests.fakes.signals import Gate
from tests.fakes.vanishing import full_backlog
from tests.integration.tag_content import FRESH_FOR, NAME, ONE, TWO, hold, manifest_requests


@pytest.mark.parametrize(
    "trouble",
    [answer(500), answer(503), answer(429), rate_limited("30"), answer(200, b"<html>", Content_Type="text/html")],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stale_tag_is_given_when_the_upstream_fails(cache, upstream, clock, trouble, method):
    await hold(cache, upstream)
    upstream.faults.add(trouble, times=None)

    clock.advance(1000)
    got = await cache.ask(method, f"/v2/{NAME}/manifests/3")

    assert (got.status, got.headers["Docker-Content-Digest"]) == (200, ONE.digest)
    assert got.body == (ONE.body if method == "GET" else b"")
    assert got.headers["Age"] == "1000"
    assert got.headers["Warning"].startswith('299 - "')


async def test_a_stale_tag_is_given_within_a_second_of_silence(workers, upstream, clock):
    await hold(workers[0], upstream)
    upstream.silent = True

    clock.advance(1000)
    async with asyncio.timeout(1.0):
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(workers[number % 2].get_manifest(NAME, "3")) for number in range(10)]

    assert {(task.result().status, task.result().body) for task in asked} == {(200, ONE.body)}
    assert manifest_requests(upstream) == ["HEAD"]


async def test_a_stale_tag_is_given_within_a_second_when_packets_vanish(start, upstream, clock):
    before = await start()
    await hold(before, upstream)
    clock.advance(1000)

    with full_backlog() as port:
        cache = await start(url=f"http://127.0.0.1:{port}")
        async with asyncio.timeout(1.0):
            got = await cache.get_manifest(NAME, "3")

    assert (got.status, got.body, got.headers["Age"]) == (200, ONE.body, "1000")


async def test_while_the_upstream_is_silent_later_askers_do_not_wait(cache, upstream, clock):
    await hold(cache, upstream)
    upstream.silent = True
    clock.advance(1000)
    await cache.get_manifest(NAME, "3")
    clock.advance(1)

    async with asyncio.timeout(0.5):
        got = await cache.get_manifest(NAME, "3")

    assert "Warning" in got.headers


async def test_an_answer_that_came_late_counts_for_the_next(cache, upstream, clock):
    await hold(cache, upstream)
    upstream.add_image(NAME, TWO, tag="3")
    gate = Gate()
    upstream.faults.add(slow_headers(gate), method="HEAD")
    clock.advance(1000)

    stale = await cache.get_manifest(NAME, "3")
    gate.open()
    async with asyncio.timeout(5):
        while "Warning" in (later := await cache.get_manifest(NAME, "3")).headers:
            await asyncio.sleep(0.01)

    assert (stale.body, later.body) == (ONE.body, TWO.body)
    assert "Warning" not in later.headers


async def test_an_upstream_that_is_back_is_believed_at_once(cache, upstream, clock):
    await hold(cache, upstream)
    upstream.faults.add(answer(503))
    clock.advance(1000)

    stale = await cache.get_manifest(NAME, "3")
    clock.advance(2)
    fresh = await cache.get_manifest(NAME, "3")

    assert ("Warning" in stale.headers, "Warning" in fresh.headers) == (True, False)


async def test_a_retry_after_is_kept(cache, upstream, clock):
    await hold(cache, upstream)
    upstream.faults.add(rate_limited("30"))
    clock.advance(1000)

    got = []
    for seconds in (0, 20, 11):
        clock.advance(seconds)
        got.append("Warning" in (await cache.get_manifest(NAME, "3")).headers)

    assert got == [True, True, False]
    assert manifest_requests(upstream) == ["HEAD", "HEAD"]


async def test_a_tag_older_than_max_stale_is_not_given(start, upstream, clock):
    cache = await start(max_stale=3600.0)
    await hold(cache, upstream)
    await upstream.stop()

    clock.advance(FRESH_FOR + 3600 + 1)
    got = await cache.get_manifest(NAME, "3")

    assert got.status == 502


async def test_a_stale_tag_whose_manifest_is_not_held_is_a_bad_gateway(cache, upstream, clock):
    upstream.add_image(NAME, ONE, tag="3")
    await cache.head_manifest(NAME, "3")
    await upstream.stop()
    clock.advance(1000)

    got = await cache.get_manifest(NAME, "3")

    assert got.status == 502


async def test_a_blob_of_a_stale_image_that_is_not_held_is_a_bad_gateway(cache, upstream):
    await hold(cache, upstream)
    await upstream.stop()

    got = await cache.get_blob(NAME, ONE.layers[0].digest)

    assert got.status == 502
