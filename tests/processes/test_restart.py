"""Kill -9 of everything, anywhere: nothing that is served afterwards is wrong, and nothing that was there is lost.

The states in which a kill leaves the directory are also built by hand, one by one (store/durable.py, DESIGN "Miss").
"""

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.store.spool_record import SpoolState
from tests.builders import Content, image
from tests.fakes.faults import Pacer, no_length, wrong_byte
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, RunningCache, blob_path, leave_spool, manifest_path, wait_until

SIZE = 600_000
PLACE = 300_000


@pytest.fixture
def stopped(tmp_path: Path, upstream: ThreadedRegistry) -> RunningCache:
    """A cache that was never started, to leave something in its directory first."""
    return RunningCache(tmp_path, upstream.url)


def asked(upstream: ThreadedRegistry) -> list[tuple[str, str]]:
    return [(seen.method, seen.headers.get("Range", "")) for seen in upstream.requests]


def pull(cache: RunningCache, wanted: Content) -> bytes:
    return cache.get(blob_path(wanted.digest)).body


@pytest.mark.parametrize("seeds", [range(5), range(5, 10)], ids=str)
def test_a_kill_of_everything_anywhere_leaves_a_directory_that_works(
    tmp_path: Path, upstream: ThreadedRegistry, seeds: range
) -> None:
    upstream.pacer = Pacer(8_000_000)
    for seed in seeds:
        pulled = upstream.add_image(NAME, image(layers=4, layer_size=SIZE // 2, seed=seed), tag=f"v{seed}")
        cache = RunningCache(tmp_path, upstream.url)
        cache.start()
        blobs = list(pulled.blobs())
        for client, each in zip(cache.connect_each(3), blobs, strict=False):
            client.send(blob_path(each.digest))
        cache.connect().send(manifest_path(f"v{seed}"))
        wait_for_bytes(cache, blobs, random.Random(seed).randrange(sum(each.size for each in blobs)))
        cache.kill_all()
        cache.check_blobs()

    with RunningCache(tmp_path, upstream.url) as cache:
        for seed in seeds:
            check_image(cache, upstream, f"v{seed}")
        cache.check_blobs()


def wait_for_bytes(cache: RunningCache, blobs: list[Content], size: int) -> None:
    def count(each: Content) -> int:
        progress = cache.progress(each.digest)
        return each.size if cache.has_blob(each.digest) else progress.written if progress else 0

    wait_until(lambda: sum(map(count, blobs)) >= size, f"{size} bytes on disk")


def check_image(cache: RunningCache, upstream: ThreadedRegistry, tag: str) -> None:
    repository = upstream.repository(NAME)
    manifest = cache.get(manifest_path(tag))
    assert manifest.body == repository.manifests[repository.tags[tag]].body
    for each in repository.blobs.values():
        assert cache.get(blob_path(each.digest)).body == each.body


def test_a_spool_that_was_left_is_gone_on_with(stopped: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    leave_spool(stopped.layout, wanted.digest, wanted.body[:PLACE], size=SIZE, state=SpoolState.FILLING)

    with stopped as cache:
        assert pull(cache, wanted) == wanted.body

    assert asked(upstream) == [("GET", f"bytes={PLACE}-")]


@pytest.mark.parametrize("state", [SpoolState.FILLING, SpoolState.VERIFIED])
def test_a_spool_that_was_complete_is_verified_and_published(
    stopped: RunningCache, upstream: ThreadedRegistry, state: SpoolState
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    leave_spool(stopped.layout, wanted.digest, wanted.body, size=SIZE, state=state)

    with stopped as cache:
        assert pull(cache, wanted) == wanted.body
        cache.wait_until_published(wanted.digest)
        assert cache.check_blobs() == 1

    assert asked(upstream) == []


@pytest.mark.parametrize("place", [PLACE, SIZE])
def test_a_spool_of_unknown_size_is_gone_on_with(stopped: RunningCache, upstream: ThreadedRegistry, place: int) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(no_length(), on=wanted.digest, times=None)
    leave_spool(stopped.layout, wanted.digest, wanted.body[:place], size=None, state=SpoolState.FILLING)

    with stopped as cache:
        assert pull(cache, wanted) == wanted.body

    assert asked(upstream) == ([("GET", f"bytes={place}-")] if place < SIZE else [])


@pytest.mark.parametrize("size", [SIZE, None])
def test_bytes_that_a_power_cut_spoiled_reach_nobody_complete(
    stopped: RunningCache, upstream: ThreadedRegistry, size: int | None
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    leave_spool(stopped.layout, wanted.digest, bytes(PLACE), size=size, state=SpoolState.FILLING)

    with stopped as cache:
        first = cache.get(blob_path(wanted.digest))
        assert (first.is_complete, first.body == wanted.body) in {(False, False), (True, True)}
        cache.wait_until_published(wanted.digest)
        assert pull(cache, wanted) == wanted.body
        assert cache.check_blobs() == 1

    assert asked(upstream) == [("GET", f"bytes={PLACE}-"), ("GET", "")]


@pytest.mark.parametrize("lost", ["data", "part of the data"])
def test_a_record_promises_nothing_that_is_not_in_the_data(
    stopped: RunningCache, upstream: ThreadedRegistry, lost: str
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    leave_spool(stopped.layout, wanted.digest, wanted.body[:PLACE], size=SIZE, state=SpoolState.FILLING)
    data = stopped.layout.spool_data(parse_digest(wanted.digest))
    data.unlink() if lost == "data" else os.truncate(data, 1000)

    with stopped as cache:
        assert pull(cache, wanted) == wanted.body

    assert asked(upstream) == [("GET", "" if lost == "data" else "bytes=1000-")]


def test_data_without_a_record_is_fetched_again(stopped: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    stopped.layout.prepare()
    stopped.layout.spool_data(parse_digest(wanted.digest)).write_bytes(b"x" * 2 * SIZE)

    with stopped as cache:
        assert pull(cache, wanted) == wanted.body
        cache.wait_until_published(wanted.digest)
        assert cache.check_blobs() == 1


def test_a_blob_whose_record_was_left_behind_is_served(stopped: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    leave_spool(stopped.layout, wanted.digest, wanted.body, size=SIZE, state=SpoolState.VERIFIED)
    blob = stopped.layout.blob(parse_digest(wanted.digest))
    blob.parent.mkdir(parents=True)
    stopped.layout.spool_data(parse_digest(wanted.digest)).rename(blob)

    with stopped as cache:
        assert {pull(cache, wanted) for _ in range(4)} == {wanted.body}

    assert upstream.count("GET") == 0


def test_a_row_whose_blob_is_gone_costs_one_more_fill(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_image(NAME, image(), tag="3")
    cache.get(manifest_path("3"))
    for each in wanted.blobs():
        pull(cache, each)
        cache.wait_until_published(each.digest)
    shutil.rmtree(cache.layout.blobs)
    cache.layout.blobs.mkdir()

    for each in wanted.blobs():
        assert pull(cache, each) == each.body
    assert cache.get(manifest_path("3")).body == wanted.body


def test_every_row_after_a_kill_has_its_blob(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    blobs = [upstream.add_blob(NAME, image(seed=number).layers[0]) for number in range(30)]
    clients = cache.connect_each(5)
    for client, each in zip(clients * 3, blobs, strict=True):
        client.get(blob_path(each.digest))
    cache.kill_all()

    with closing(sqlite3.connect(cache.layout.database)) as database:
        rows = [row[0] for row in database.execute("SELECT digest FROM blobs")]

    assert rows
    assert all(cache.has_blob(digest) for digest in rows)


def test_an_outcome_that_a_killed_worker_left_does_not_count_later(
    stopped: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_image(NAME, image(), tag="3")
    stopped.layout.prepare()
    lock = stopped.layout.lock("tag docker.io/library/alpine 3")
    lock.write_text('{"type":"failure","kind":"misbehaved","upstream":"docker.io","reason":"long ago"}')

    with stopped as cache:
        assert cache.get(manifest_path("3")).body == wanted.body


def test_wrong_content_is_remembered_for_a_minute_over_a_restart(tmp_path: Path, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(5), on=wanted.digest)
    with RunningCache(tmp_path, upstream.url) as cache:
        bad = cache.get(blob_path(wanted.digest))
        seen = [client.get(blob_path(wanted.digest), Range="bytes=1000-").status for client in cache.connect_each(1)]

    with RunningCache(tmp_path, upstream.url) as cache:
        ranged = [client.get(blob_path(wanted.digest), Range="bytes=1000-") for client in cache.connect_each(1)]
        whole = cache.get(blob_path(wanted.digest))

    assert not bad.is_complete
    assert len(bad.body) <= SIZE - 64 * 1024
    assert seen == [answer.status for answer in ranged] == [502, 502]
    assert whole.body == wanted.body
