"""The worker that leads a fill is killed or stopped: its clients are cut and resume, everybody else's finish."""

import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.builders import image
from tests.fakes.faults import Pacer, slow_headers, stall
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, Answer, Connection, RunningCache, blob_path, manifest_path, wait_until

SIZE = 1_500_000
HELD_BACK = 64 * 1024


def ranges(upstream: ThreadedRegistry, digest: str) -> list[str]:
    return [seen.headers.get("Range", "") for seen in upstream.requests if digest in seen.path]


def finish_by_resuming(cache: RunningCache, connection: Connection, digest: str) -> bytes:
    """Do what clients do that are cut: go on at once, on a new connection."""
    answer = connection.finish()
    body = answer.body
    while not answer.is_complete:
        answer = cache.get(blob_path(digest), Range=f"bytes={len(body)}-") if body else cache.get(blob_path(digest))
        body += answer.body
    return body


@pytest.fixture
def paced_upstream(upstream: ThreadedRegistry) -> Iterator[ThreadedRegistry]:
    upstream.pacer = Pacer(6_000_000)
    yield upstream
    upstream.pacer = None


@pytest.mark.parametrize("seeds", [range(5), range(5, 10), range(10, 15), range(15, 20)], ids=str)
def test_a_leader_that_is_killed_anywhere_costs_nobody_a_byte(
    cache: RunningCache, paced_upstream: ThreadedRegistry, seeds: range
) -> None:
    for seed in seeds:
        wanted = paced_upstream.add_blob(NAME, image(layers=1, layer_size=SIZE, seed=seed).layers[0])
        leader, other = cache.wait_for_workers()
        clients = [cache.connect(leader), cache.connect(other), cache.connect(other)]
        for client in clients:
            client.ask(blob_path(wanted.digest))

        cache.wait_until_written(wanted.digest, random.Random(seed).randrange(1, SIZE))
        os.kill(leader, signal.SIGSTOP)
        written = cache.wait_until_written(wanted.digest, 0) or SIZE
        os.kill(leader, signal.SIGKILL)

        with ThreadPoolExecutor() as pool:
            resuming = pool.submit(finish_by_resuming, cache, clients[0], wanted.digest)
            answers = list(pool.map(Connection.finish, clients[1:]))
        assert {(answer.body, answer.is_complete) for answer in answers} == {(wanted.body, True)}
        assert resuming.result() == wanted.body
        check_nothing_was_fetched_again(ranges(paced_upstream, wanted.digest), written)


def check_nothing_was_fetched_again(asked: list[str], written: int) -> None:
    assert asked[0] == ""
    assert len(asked) <= 2
    assert all(int(again.removeprefix("bytes=").removesuffix("-")) >= written for again in asked[1:])


@pytest.mark.parametrize("place", [0, 1, HELD_BACK, SIZE - HELD_BACK, SIZE - 1, SIZE])
def test_a_takeover_goes_on_where_the_leader_was(cache: RunningCache, upstream: ThreadedRegistry, place: int) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=place), on=wanted.digest)
    leader, other = cache.workers()
    cache.connect(leader).ask(blob_path(wanted.digest))
    follower = cache.connect(other)
    follower.ask(blob_path(wanted.digest))
    cache.wait_until_written(wanted.digest, place)

    os.kill(leader, signal.SIGKILL)

    assert follower.finish().body == wanted.body
    expected = {0: ["", ""], SIZE: [""]}.get(place, ["", f"bytes={place}-"])
    assert ranges(upstream, wanted.digest) == expected


def test_a_leader_that_dies_before_upstream_answers_is_replaced(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(slow_headers(gate), on=wanted.digest)
    leader, other = cache.workers()
    cache.connect(leader).send(blob_path(wanted.digest))
    gate.arrived.wait_blocking()
    follower = cache.connect(other)
    follower.send(blob_path(wanted.digest))

    os.kill(leader, signal.SIGKILL)

    assert follower.finish().body == wanted.body


def test_both_workers_die_in_turn_and_the_third_ends_what_they_began(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    for place in (300_000, 700_000):
        upstream.faults.add(stall(at=place), on=wanted.digest)
        leader = cache.wait_for_workers()[0]
        cache.connect(leader).send(blob_path(wanted.digest))
        cache.wait_until_written(wanted.digest, place)
        os.kill(leader, signal.SIGKILL)
        wait_until(lambda gone=leader: gone not in cache.workers(), "the leader is gone")
        upstream.faults.clear()

    assert cache.get(blob_path(wanted.digest)).body == wanted.body
    assert ranges(upstream, wanted.digest) == ["", "bytes=300000-", "bytes=700000-"]


def test_a_leader_that_is_stopped_is_passed_and_may_go_on_later(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=SIZE // 2), on=wanted.digest)
    leader, other = cache.workers()
    led = cache.connect(leader)
    led.ask(blob_path(wanted.digest))
    follower, late = cache.connect(other), cache.connect(other)
    follower.ask(blob_path(wanted.digest))
    cache.wait_until_written(wanted.digest, SIZE // 2)

    os.kill(leader, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda work: work(), [follower.finish, lambda: late.get(blob_path(wanted.digest))]))
    finally:
        os.kill(leader, signal.SIGCONT)
    gate.open()

    assert {(answer.body, answer.is_complete) for answer in answers} == {(wanted.body, True)}
    assert led.finish().body == wanted.body
    cache.wait_until_published(wanted.digest)


def test_a_worker_that_is_stopped_while_it_asks_for_a_tag_is_not_waited_for(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_image(NAME, image(), tag="3")
    gate = Gate()
    upstream.faults.add(slow_headers(gate), on="/manifests/", method="HEAD")
    holder, other = cache.workers()
    first = cache.connect(holder)
    first.send(manifest_path("3"))
    gate.arrived.wait_blocking()
    asker = cache.connect(other)

    os.kill(holder, signal.SIGSTOP)
    try:
        answer: Answer = asker.get(manifest_path("3"))
    finally:
        os.kill(holder, signal.SIGCONT)
    gate.open()

    assert (answer.status, answer.body) == (200, wanted.body)
    assert first.finish().body == wanted.body


def test_a_killed_worker_is_replaced(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, 1000)
    killed = cache.workers()[0]

    os.kill(killed, signal.SIGKILL)

    assert cache.wait_for_log("worker ended", worker=killed)["cause"] == "SIGKILL"
    wait_until(lambda: killed not in cache.workers() and len(cache.workers()) == 2, "a new worker")
    assert {cache.connect(worker).get(blob_path(wanted.digest)).body for worker in cache.workers()} == {wanted.body}


def test_blobs_are_what_their_names_say(cache: RunningCache, tmp_path: Path, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_image(NAME, image(layers=3), tag="3")
    for each in wanted.blobs():
        cache.get(blob_path(each.digest))
    cache.get(manifest_path("3"))

    assert cache.check_blobs() == 5
