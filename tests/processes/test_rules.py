"""Rules that change while workers serve: from then on nobody gets what they refuse, but a transfer ends whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import blob, image
from tests.fakes.faults import stall
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, Connection, RunningCache, blob_path, manifest_path, wait_until

MIB = 1024 * 1024
ADMITTED, DENIED = "deny = []", f'deny = ["{NAME}"]'
OTHER = "library/other"


@pytest.fixture
def cache(tmp_path: Path, upstream: ThreadedRegistry) -> Iterator[RunningCache]:
    """A cache that refuses nothing yet."""
    with RunningCache(tmp_path, upstream.url, more=ADMITTED) as running:
        yield running


def statuses(cache: RunningCache, path: str) -> set[int]:
    """Return what each worker answers on a new connection."""
    return {connection.get(path).status for connection in cache.connect_each(1)}


def begin(connection: Connection, digest: str) -> tuple[Connection, bytes]:
    assert connection.ask(blob_path(digest)) == 200
    return connection, connection.read(MIB)


def test_what_is_denied_after_sighup_is_refused_at_every_worker_and_transfers_end_whole(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    held = upstream.add_image(NAME, image(), tag="1")
    paths = [manifest_path("1"), manifest_path(held.digest), *(blob_path(each.digest) for each in held.blobs())]
    assert all(statuses(cache, path) == {200} for path in paths * 2)
    upstream.add_image(OTHER, held, tag="1")
    running, gate = upstream.add_blob(NAME, blob(8 * MIB, seed="running")), Gate()
    upstream.faults.add(stall(gate, at=4 * MIB), on=running.digest)
    transfers = [begin(connection, running.digest) for connection in cache.connect_each(1)]
    workers = cache.workers()

    cache.reload(ADMITTED, DENIED)

    wait_until(lambda: statuses(cache, paths[0]) == {403}, "both workers refuse")
    assert all(statuses(cache, path) == {403} for path in [*paths, blob_path(running.digest)])
    assert statuses(cache, f"/v2/{OTHER}/manifests/1") == {200}
    gate.open()
    answers = [connection.finish(begun=begun) for connection, begun in transfers]
    assert [(answer.is_complete, answer.body == running.body) for answer in answers] == [(True, True)] * 2
    assert statuses(cache, paths[0]) == {403}
    assert cache.workers() == workers


def test_what_is_admitted_again_is_served_from_disk(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    held = upstream.add_image(NAME, image(), tag="1")
    assert statuses(cache, manifest_path(held.digest)) == {200}
    cache.reload(ADMITTED, DENIED)
    wait_until(lambda: statuses(cache, manifest_path(held.digest)) == {403}, "both workers refuse")
    asked = len(upstream.requests)

    cache.reload(DENIED, ADMITTED)

    wait_until(lambda: statuses(cache, manifest_path(held.digest)) == {200}, "both workers serve")
    assert len(upstream.requests) == asked
