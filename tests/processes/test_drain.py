"""SIGTERM: new requests get 503, transfers end within `drain` or are cut, and what was fetched is not lost."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import image
from tests.fakes.faults import no_length, stall
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, RunningCache, blob_path, manifest_path, wait_until

SIZE = 600_000
PLACE = 300_000

Start = Callable[..., RunningCache]


@pytest.fixture
def start_cache(tmp_path: Path, upstream: ThreadedRegistry) -> Iterator[Start]:
    """Start caches on one directory, one after another."""
    started: list[RunningCache] = []

    def start(**options: object) -> RunningCache:
        cache = RunningCache(tmp_path, upstream.url, **options)
        cache.start()
        started.append(cache)
        return cache

    yield start
    for cache in started:
        cache.kill_all()


def to_supervisor(cache: RunningCache) -> None:
    cache.process.terminate()


def to_whole_group(cache: RunningCache) -> None:
    os.killpg(cache.process.pid, signal.SIGTERM)


def wait_for_drain(cache: RunningCache) -> None:
    """Wait until the worker without a transfer has ended and the other one knows that it shall."""
    cache.wait_for_workers(1)
    wait_until(lambda: cache.get("/v2/").status == 503, "new requests are refused")


@pytest.mark.parametrize("terminate", [to_supervisor, to_whole_group])
def test_a_transfer_that_ends_within_drain_ends_and_new_requests_are_refused(
    start_cache: Start, upstream: ThreadedRegistry, terminate: Callable[[RunningCache], None]
) -> None:
    cache = start_cache(drain="20s")
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=PLACE), on=wanted.digest)
    client = cache.connect()
    client.ask(blob_path(wanted.digest))
    begun = client.read(1000)

    terminate(cache)
    wait_for_drain(cache)
    refused = cache.get(manifest_path("latest"))
    gate.open()

    assert client.finish(begun=begun).body == wanted.body
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert cache.process.wait(timeout=20) == 0


def test_readiness_and_metrics_can_be_asked_while_draining(start_cache: Start, upstream: ThreadedRegistry) -> None:
    cache = start_cache(drain="20s")
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=PLACE), on=wanted.digest)
    cache.connect().ask(blob_path(wanted.digest))

    cache.process.terminate()
    wait_for_drain(cache)

    assert [cache.get(f"/-/{page}").status for page in ("health", "ready")] == [200, 503]
    assert cache.metric("proxycache_requests_total", status="5xx") >= 1


def test_a_transfer_that_takes_too_long_is_cut_and_goes_on_after_a_restart(
    start_cache: Start, upstream: ThreadedRegistry
) -> None:
    cache = start_cache(drain="0.2s")
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(stall(at=PLACE), on=wanted.digest)
    clients = cache.connect_each(1)
    for client in clients:
        client.ask(blob_path(wanted.digest))
    cache.wait_until_written(wanted.digest, PLACE)

    assert cache.terminate() == 0
    answers = [client.finish() for client in clients]
    again = start_cache().get(blob_path(wanted.digest))

    assert {(answer.body, answer.is_complete) for answer in answers} == {(wanted.body[:PLACE], False)}
    assert again.body == wanted.body
    assert [seen.headers.get("Range") for seen in upstream.requests] == [None, f"bytes={PLACE}-"]


def test_a_body_without_a_length_is_not_completed_when_it_is_cut(
    start_cache: Start, upstream: ThreadedRegistry
) -> None:
    cache = start_cache(drain="0.2s")
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(no_length(), on=wanted.digest)
    upstream.faults.add(stall(at=PLACE), on=wanted.digest)
    client = cache.connect()
    client.ask(blob_path(wanted.digest))
    cache.wait_until_written(wanted.digest, PLACE)

    assert cache.terminate() == 0

    answer = client.finish()
    assert (len(answer.body) < SIZE, answer.is_complete) == (True, False)


def test_what_ended_just_before_is_known_after_a_restart_without_its_upstream(
    start_cache: Start, upstream: ThreadedRegistry
) -> None:
    cache = start_cache()
    wanted = upstream.add_image(NAME, image(layers=3, layer_size=100_000), tag="3")
    cache.get(manifest_path("3"))
    layers = [cache.connect().get(blob_path(each.digest)).body for each in wanted.blobs()]

    assert cache.terminate() == 0
    upstream.run(upstream.stop())
    again = start_cache()

    assert [again.get(blob_path(each.digest)).body for each in wanted.blobs()] == layers
    assert again.get(manifest_path("3")).body == wanted.body


def test_idle_connections_do_not_delay_the_end(start_cache: Start) -> None:
    cache = start_cache(drain="20s")
    clients = cache.connect_each(2)
    for client in clients[:2]:
        assert client.get("/v2/").status == 200

    assert cache.terminate() == 0


def test_one_worker_that_is_told_to_end_drains_and_is_replaced(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=PLACE), on=wanted.digest)
    told = cache.workers()[0]
    client = cache.connect(told)
    client.ask(blob_path(wanted.digest))

    os.kill(told, signal.SIGTERM)
    gate.open()

    assert client.finish().body == wanted.body
    wait_until(lambda: told not in cache.workers() and len(cache.workers()) == 2, "a new worker")
