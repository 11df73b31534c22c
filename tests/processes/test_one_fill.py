"""One fill for all clients of all workers (DESIGN, "Miss"; invariants 3 and 5)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.builders import image
from tests.fakes.auth import TokenAuth
from tests.fakes.faults import answer, slow_headers, stall
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, Answer, Connection, RunningCache, blob_path, manifest_path

SIZE = 600_000
T = TypeVar("T")


def at_once(work: Callable[[Connection], T], connections: list[Connection]) -> list[T]:
    """Let every client work in a thread of its own."""
    with ThreadPoolExecutor(len(connections)) as pool:
        return list(pool.map(work, connections))


def bodies(answers: list[Answer]) -> set[tuple[int, bytes, bool]]:
    return {(answer.status, answer.body, answer.is_complete) for answer in answers}


def test_fifty_clients_of_two_workers_cost_one_request_upstream(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=SIZE // 2), on=wanted.digest)
    connections = cache.connect_each(25)

    with ThreadPoolExecutor(50) as pool:
        answers = pool.map(lambda connection: connection.get(blob_path(wanted.digest)), connections)
        gate.arrived.wait_blocking()
        gate.open()

        assert bodies(list(answers)) == {(200, wanted.body, True)}
    assert upstream.count("GET", wanted.digest) == 1


def test_small_blobs_that_all_workers_want_at_once_are_fetched_once(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = [upstream.add_blob(NAME, image(seed=number).layers[0]) for number in range(40)]
    connections = cache.connect_each(4)

    def pull_all(connection: Connection) -> list[Answer]:
        return [connection.get(blob_path(each.digest)) for each in wanted]

    for answers in at_once(pull_all, connections):
        assert [(answer.status, answer.body) for answer in answers] == [(200, each.body) for each in wanted]
    assert [upstream.count("GET", each.digest) for each in wanted] == [1] * 40


def test_a_failure_is_the_same_for_all_who_waited_and_asked_once(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(slow_headers(gate), on=wanted.digest)
    upstream.faults.add(answer(503), on=wanted.digest, times=None)
    connections = cache.connect_each(10)

    for connection in connections:
        connection.send(blob_path(wanted.digest))
    cache.wait_until_asked(len(connections))
    gate.open()

    assert {connection.finish().status for connection in connections} == {502}
    assert upstream.count("GET", wanted.digest) == 1


def test_forty_askers_of_a_cold_tag_cost_one_head_and_one_get(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_image(NAME, image(), tag="3")
    gate = Gate()
    upstream.faults.add(slow_headers(gate), on="/manifests/", method="HEAD")
    connections = cache.connect_each(20)

    with ThreadPoolExecutor(40) as pool:
        answers = pool.map(lambda connection: connection.get(manifest_path("3")), connections)
        gate.arrived.wait_blocking()
        gate.open()

        assert bodies(list(answers)) == {(200, wanted.body, True)}
    assert (upstream.count("HEAD", "/manifests/"), upstream.count("GET", "/manifests/")) == (1, 1)


def test_a_client_that_leaves_does_not_end_the_fill(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=SIZE // 2), on=wanted.digest)
    client = cache.connect()
    client.ask(blob_path(wanted.digest))
    client.read(1000)

    client.close()
    gate.open()

    cache.wait_until_published(wanted.digest)
    assert upstream.count("GET", wanted.digest) == 1


def test_what_is_fetched_for_a_private_repository_is_not_read_through_another(
    tmp_path: Path, upstream: ThreadedRegistry
) -> None:
    upstream.auth = TokenAuth(username="ann", password="secret", private={"library/secret"})
    upstream.add_image(NAME, image(), tag="latest")
    wanted = upstream.add_blob("library/secret", SIZE)
    gate = Gate()
    upstream.faults.add(stall(gate, at=SIZE // 2), on=f"library/secret/blobs/{wanted.digest}")
    (tmp_path / "password").write_text("secret")
    more = f'username = "ann"\npassword_file = "{tmp_path / "password"}"'

    with RunningCache(tmp_path, upstream.url, more=more) as cache:
        reader, *others = [*cache.connect_each(1), *cache.connect_each(1)]
        reader.ask(f"/v2/library/secret/blobs/{wanted.digest}")
        stolen = [client.get(blob_path(wanted.digest), **{"X-Forwarded-For": "192.0.2.7"}) for client in others]
        gate.open()

        assert {(answer.status, answer.body[:100] == wanted.body[:100]) for answer in stolen} == {(404, False)}
        assert reader.finish().body == wanted.body


def test_what_one_worker_published_every_worker_serves(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_image(NAME, image(), tag="3")
    first, second = cache.connect_each(1)
    paths = [manifest_path("3"), manifest_path(wanted.digest), *(blob_path(each.digest) for each in wanted.blobs())]
    pulled = [first.get(path).body for path in paths]
    asked = len(upstream.requests)

    assert [second.get(path).body for path in paths] == pulled
    assert len(upstream.requests) == asked
