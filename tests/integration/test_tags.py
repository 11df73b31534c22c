"""Tags: fresh ones cost nothing, others one HEAD for all who ask."""

import asyncio
import math
import os

import pytest

from proxycache.policy.freshness import TagRule
from tests.fakes.faults import answer, rate_limited, slow_headers, without_header
from tests.fakes.signals import Gate
from tests.fakes.vanishing import refused_port
from tests.integration.tag_content import FRESH_FOR, NAME, ONE, TWO, hold, manifest_requests


async def test_a_cold_tag_costs_a_head_and_a_get_by_digest(cache, upstream):
    upstream.add_image(NAME, ONE, tag="3")

    got = await cache.get_manifest(NAME, "3")

    assert (got.status, got.body) == (200, ONE.body)
    asked = [(seen.method, seen.path.rpartition("/")[2]) for seen in upstream.requests]
    assert asked == [("HEAD", "3"), ("GET", ONE.digest)]


@pytest.mark.parametrize(
    ("trouble", "waits"),
    [(rate_limited("30"), (0, 29, 2)), (rate_limited("3600"), (0, 59, 2)), (answer(503), (0, 0.5, 0.6))],
)
async def test_a_cold_tag_is_not_asked_for_again_at_once(cache, upstream, clock, trouble, waits):
    upstream.add_image(NAME, ONE, tag="3")
    upstream.faults.add(trouble)

    got = []
    for seconds in waits:
        clock.advance(seconds)
        got.append((await cache.get_manifest(NAME, "3")).status)

    assert got == [got[0], got[0], 200]
    assert got[0] in {429, 502}
    assert manifest_requests(upstream) == ["HEAD", "HEAD", "GET"]


async def test_a_head_costs_the_upstream_no_get(cache, upstream):
    upstream.add_image(NAME, ONE, tag="3")

    got = await cache.head_manifest(NAME, "3")

    assert (got.status, got.headers["Docker-Content-Digest"], got.body) == (200, ONE.digest, b"")
    assert got.headers["Content-Length"] == str(len(ONE.body))
    assert manifest_requests(upstream) == ["HEAD"]


async def test_a_fresh_tag_costs_nothing(workers, upstream, clock):
    await hold(workers[0], upstream)

    clock.advance(FRESH_FOR - 1)
    got = [await cache.get_manifest(NAME, "3") for cache in workers * 2]

    assert {each.body for each in got} == {ONE.body}
    assert upstream.requests == []


async def test_a_tag_that_is_no_longer_fresh_costs_one_head(workers, upstream, clock):
    await hold(workers[0], upstream)

    clock.advance(FRESH_FOR + 1)
    got = [await cache.get_manifest(NAME, "3") for cache in workers]

    assert {each.body for each in got} == {ONE.body}
    assert manifest_requests(upstream) == ["HEAD"]


async def test_a_tag_that_moved_is_noticed_by_all_workers(workers, upstream, clock):
    await hold(workers[0], upstream)
    await workers[1].get_manifest(NAME, "3")
    upstream.add_image(NAME, TWO, tag="3")

    before = [(await cache.get_manifest(NAME, "3")).body for cache in workers]
    clock.advance(FRESH_FOR + 1)
    after = [(await cache.get_manifest(NAME, "3")).body for cache in workers]

    assert (before, after) == ([ONE.body] * 2, [TWO.body] * 2)


async def test_a_tag_that_moved_to_what_is_held_costs_no_get(cache, upstream, clock):
    await hold(cache, upstream)
    upstream.add_image(NAME, TWO, tag="4")
    await cache.get_manifest(NAME, "4")
    upstream.repository(NAME).tags["3"] = TWO.digest
    upstream.requests.clear()

    clock.advance(FRESH_FOR + 1)
    got = await cache.get_manifest(NAME, "3")

    assert got.body == TWO.body
    assert manifest_requests(upstream) == ["HEAD"]


@pytest.mark.parametrize(("tag", "is_asked_again"), [("v1.2.3", False), ("latest", True), ("1.2", True)])
async def test_rules_say_how_long_a_tag_is_fresh(start, upstream, clock, tag, is_asked_again):
    never_changes = TagRule(match=r"^v?\d+\.\d+\.\d+$", fresh_for=math.inf)
    cache = await start(tag_rules=(never_changes, TagRule(match="^latest$", fresh_for=1.0)))
    await hold(cache, upstream, tag=tag)

    clock.advance(2 if tag == "latest" else 1e9 if tag == "v1.2.3" else FRESH_FOR + 1)
    await cache.get_manifest(NAME, tag)

    assert bool(upstream.requests) is is_asked_again


async def test_a_tag_that_is_gone_upstream_is_gone_here(workers, upstream, clock):
    await hold(workers[0], upstream)
    del upstream.repository(NAME).tags["3"]

    clock.advance(FRESH_FOR + 1)
    gone = [await cache.get_manifest(NAME, "3") for cache in workers]
    await upstream.stop()
    still_gone = await workers[0].get_manifest(NAME, "3")

    assert [each.status for each in (*gone, still_gone)] == [404, 404, 404]
    assert manifest_requests(upstream) == ["HEAD"]


async def test_a_negative_entry_counts_over_a_restart_and_then_ends(start, upstream, clock):
    upstream.repository(NAME)
    before = await start()
    first = await before.get_manifest(NAME, "3")
    await before.stop()
    upstream.add_image(NAME, ONE, tag="3")

    cache = await start()
    second = await cache.get_manifest(NAME, "3")
    clock.advance(61)
    third = await cache.get_manifest(NAME, "3")

    assert [first.status, second.status, third.status] == [404, 404, 200]
    assert upstream.count("HEAD") == 2


async def test_freshness_counts_over_a_restart(start, upstream, clock):
    before = await start()
    await hold(before, upstream)
    await before.stop()
    await upstream.stop()

    clock.advance(FRESH_FOR - 1)
    got = await (await start()).get_manifest(NAME, "3")

    assert (got.status, "Warning" in got.headers) == (200, False)


async def test_thirty_cold_askers_of_two_workers_cost_one_head_and_one_get(workers, upstream):
    upstream.add_image(NAME, ONE, tag="3")

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(workers[number % 2].get_manifest(NAME, "3")) for number in range(30)]

    assert {(task.result().status, task.result().body) for task in asked} == {(200, ONE.body)}
    assert sorted(manifest_requests(upstream)) == ["GET", "HEAD"]


async def test_thirty_askers_of_a_tag_that_is_no_longer_fresh_cost_one_head(workers, upstream, clock):
    await hold(workers[0], upstream)
    clock.advance(1000)

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(workers[number % 2].get_manifest(NAME, "3")) for number in range(30)]

    assert {(task.result().status, task.result().body) for task in asked} == {(200, ONE.body)}
    assert manifest_requests(upstream) == ["HEAD"]


@pytest.mark.parametrize(("trouble", "status"), [(answer(404), 404), (answer(503), 502), (answer(429), 429)])
async def test_thirty_cold_askers_share_a_refusal(workers, upstream, trouble, status):
    gate = Gate()
    upstream.faults.add(slow_headers(gate), times=None)
    upstream.faults.add(trouble, times=None)

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(workers[number % 2].get_manifest(NAME, "3")) for number in range(30)]
        await gate.arrived.wait()
        await asyncio.sleep(0.3)  # until all of them wait
        gate.open()

    assert {task.result().status for task in asked} == {status}
    assert manifest_requests(upstream) == ["HEAD"]


async def test_an_older_answer_never_overwrites_a_newer_one(workers, upstream, clock):
    await hold(workers[0], upstream)
    slow, fast = workers
    slow.parts.layout.locks.rmdir()  # so that neither waits for the other
    gate = Gate()
    old = answer(200, Docker_Content_Digest=ONE.digest, Content_Type=ONE.media_type)
    upstream.faults.add(slow_headers(gate).combined_with(old), method="HEAD")
    clock.advance(1000)
    await slow.get_manifest(NAME, "3")  # stale: its question goes on
    upstream.add_image(NAME, TWO, tag="3")
    clock.advance(1)

    newer = await fast.get_manifest(NAME, "3")
    gate.open()
    await asyncio.sleep(0.2)  # until the older answer has arrived
    later = [(await each.get_manifest(NAME, "3")).body for each in workers]

    assert (newer.body, later) == (TWO.body, [TWO.body] * 2)


@pytest.mark.parametrize("missing", ["Docker-Content-Digest", "Content-Type"])
async def test_a_head_that_does_not_tell_is_made_good_by_one_get(cache, upstream, missing):
    upstream.add_image(NAME, ONE, tag="3")
    upstream.faults.add(without_header(missing), method="HEAD", times=None)

    got = await cache.get_manifest(NAME, "3")

    assert (got.body, got.headers["Content-Type"]) == (ONE.body, ONE.media_type)
    assert manifest_requests(upstream) == ["HEAD", "GET"]


async def test_what_a_killed_worker_left_is_no_answer(cache, upstream, clock):
    await hold(cache, upstream)
    upstream.add_image(NAME, TWO, tag="3")
    left = b'{"type":"tag","digest":"%s","media_type":"x","size":1,"checked_at":1}' % ONE.digest.encode()
    path = cache.parts.layout.lock(f"tag docker.io/{NAME} 3")
    path.write_bytes(left)
    os.utime(path, (1, 1))

    clock.advance(FRESH_FOR + 1)
    got = await cache.get_manifest(NAME, "3")

    assert got.body == TWO.body


async def test_a_cold_tag_is_answered_in_time_whatever_is_slow(start, upstream):
    cache = await start(answer_within=1.0)
    upstream.add_image(NAME, ONE, tag="3")
    upstream.faults.add(slow_headers(seconds=0.9), times=None)

    async with asyncio.timeout(1.9):
        got = await cache.get_manifest(NAME, "3")

    assert got.status == 504


async def test_a_cold_tag_of_an_upstream_that_is_gone_is_a_bad_gateway(start):
    with refused_port() as port:
        cache = await start(url=f"http://127.0.0.1:{port}")

        got = await cache.get_manifest(NAME, "3")

    assert (got.status, got.code) == (502, "UNKNOWN")


async def test_a_client_that_leaves_does_not_end_the_question(cache, upstream):
    upstream.add_image(NAME, ONE, tag="3")
    gate = Gate()
    upstream.faults.add(slow_headers(gate), method="HEAD")

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(cache.get_manifest(NAME, "3"))
        await gate.arrived.wait()
        staying = group.create_task(cache.get_manifest(NAME, "3"))
        await asyncio.sleep(0.1)  # until it has joined
        leaving.cancel()
        await asyncio.sleep(0.1)  # until the cache has noticed
        gate.open()

    assert staying.result().body == ONE.body
    assert manifest_requests(upstream) == ["HEAD", "GET"]


async def test_a_worker_that_ends_leaves_its_question_to_the_others(workers, upstream):
    upstream.add_image(NAME, ONE, tag="3")
    leaving, staying = workers
    gate = Gate()
    upstream.faults.add(slow_headers(gate), method="HEAD")

    async with asyncio.TaskGroup() as group:
        cut_off = group.create_task(leaving.get_manifest(NAME, "3"))
        await gate.arrived.wait()
        served = group.create_task(staying.get_manifest(NAME, "3"))
        await asyncio.sleep(0.1)  # until it waits
        cut_off.cancel()
        await leaving.stop()

    assert (served.result().status, served.result().body) == (200, ONE.body)
