"""The command line beside a running cache: what it changes, both workers know at once, and keep over a restart."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.builders import blob, image
from tests.fakes.faults import slow_headers
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import (
    NAME,
    PATIENCE_SECONDS,
    REPOSITORY,
    Answer,
    RunningCache,
    blob_path,
    manifest_path,
    wait_until,
)

MIB = 1024 * 1024
ONE, TWO = image(seed="one"), image(seed="two")
CANONICAL = f"docker.io/{NAME}"


def start_command(cache: RunningCache, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "proxycache", *words, "--config", str(cache._config)]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish_command(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit code and what was printed, errors last."""
    try:
        printed, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    return process.returncode, printed + errors


def run(cache: RunningCache, *words: str) -> tuple[int, str]:
    return finish_command(start_command(cache, *words))


def restart(cache: RunningCache) -> None:
    """Start it again, after a drain if it still runs."""
    cache.terminate()
    cache.kill_all()
    cache.start()


def usage_of(cache: RunningCache, digest: str) -> dict[str, Any]:
    code, printed = run(cache, "usage", "--json")
    assert code == 0, printed
    [found] = [each for each in json.loads(printed)["next"] if each["digest"] == digest]
    assert isinstance(found, dict)
    return found


def from_each(cache: RunningCache, path: str) -> list[Answer]:
    """Ask each worker, on a new connection."""
    return [cache.connect(worker).get(path) for worker in cache.wait_for_workers()]


def digests(answers: list[Answer]) -> list[str]:
    assert {answer.status for answer in answers} == {200}
    return [answer.headers["docker-content-digest"] for answer in answers]


def hold(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    """Let both workers have ONE and all its blobs in memory as in rows, and the upstream forget that it was asked."""
    upstream.add_image(NAME, ONE, tag="3")
    for path in (manifest_path("3"), *(blob_path(each.digest) for each in ONE.blobs())):
        for _ in range(2):
            assert [answer.status for answer in from_each(cache, path)] == [200, 200]
    for each in ONE.blobs():
        cache.wait_until_published(each.digest)
    cache.wait_for_rows("SELECT 1 FROM blobs", 4)
    upstream.requests.clear()


def test_what_was_purged_is_asked_for_again_by_whichever_worker(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    hold(cache, upstream)

    assert run(cache, "purge", "alpine:3")[0] == 0
    assert cache.check_blobs() == 0
    again = from_each(cache, manifest_path("3"))
    layers = from_each(cache, blob_path(ONE.layers[0].digest))

    assert [answer.body for answer in again + layers] == [ONE.body] * 2 + [ONE.layers[0].body] * 2
    asked = [(seen.method, seen.path.rpartition("/")[2]) for seen in upstream.requests]
    assert asked == [("HEAD", "3"), ("GET", ONE.digest), ("GET", ONE.layers[0].digest)]


@pytest.mark.parametrize("what", [f"alpine@{ONE.digest}", "docker.io/library/alp*"])
def test_a_purge_means_the_same_to_both_workers(cache: RunningCache, upstream: ThreadedRegistry, what: str) -> None:
    hold(cache, upstream)
    upstream.add_image(NAME, TWO, tag="3")

    code, printed = run(cache, "purge", what)

    assert (code, printed.startswith("purged 4 blobs, ")) == (0, True)
    assert digests(from_each(cache, manifest_path("3"))) == [TWO.digest] * 2


def test_what_was_just_used_is_not_older_than_an_hour(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    hold(cache, upstream)

    kept = run(cache, "purge", "**", "--older-than", "1h")
    told = run(cache, "purge", "**", "--older-than", "0", "--dry-run")
    held = from_each(cache, manifest_path("3"))

    assert kept == (0, "purged 0 blobs, 0 bytes\n")
    assert told[1].startswith("would purge 4 blobs, ")
    assert (digests(held), upstream.requests) == ([ONE.digest] * 2, [])


def test_not_found_is_purged_too(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    hold(cache, upstream)
    assert [answer.status for answer in from_each(cache, manifest_path("4"))] == [404, 404]
    upstream.add_image(NAME, TWO, tag="4")
    assert [answer.status for answer in from_each(cache, manifest_path("4"))] == [404, 404]

    assert run(cache, "purge", "alpine:4") == (0, "purged 0 blobs, 0 bytes\n")

    assert digests(from_each(cache, manifest_path("4"))) == [TWO.digest] * 2


def test_a_moved_tag_is_served_by_both_workers_at_once_and_after_a_restart(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    hold(cache, upstream)
    upstream.add_image(NAME, TWO, tag="3")
    assert digests(from_each(cache, manifest_path("3"))) == [ONE.digest] * 2

    refreshed = run(cache, "refresh", "alpine:3")
    served = from_each(cache, manifest_path("3"))
    asked = [(seen.method, seen.path.rpartition("/")[2]) for seen in upstream.requests]
    restart(cache)
    kept = from_each(cache, manifest_path("3"))

    assert refreshed == (0, f"moved {ONE.digest} → {TWO.digest}\n")
    assert digests(served + kept) == [TWO.digest] * 4
    assert asked == [("HEAD", "3"), ("GET", TWO.digest)]
    assert upstream.count() == len(asked)


def test_a_tag_that_is_gone_is_gone_at_both_workers(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    hold(cache, upstream)
    del upstream.repository(NAME).tags["3"]

    code, _ = run(cache, "refresh", "alpine:3")

    assert code == 1
    assert [answer.status for answer in from_each(cache, manifest_path("3"))] == [404, 404]


def test_an_older_question_of_a_worker_is_no_answer_to_a_refresh(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    upstream.add_image(NAME, ONE, tag="3")
    gate = Gate()
    upstream.faults.add(slow_headers(gate), on="/manifests/3", method="HEAD")
    asking = cache.connect()
    asking.send(manifest_path("3"))
    gate.arrived.wait_blocking()

    refreshing = start_command(cache, "refresh", "alpine:3")
    lock = str(cache.layout.lock(f"tag {CANONICAL} 3"))
    wait_until(lambda: lock in open_files(refreshing.pid), "the refresh waits for its turn")
    gate.open()

    assert finish_command(refreshing) == (0, f"new {ONE.digest}\n")
    assert asking.finish().body == ONE.body
    assert upstream.count("HEAD", "/manifests/3") == 2


def open_files(pid: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return found


def test_what_is_pinned_is_not_purged_until_it_is_unpinned(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    hold(cache, upstream)

    assert run(cache, "pin", "alpine:3")[0] == 0
    refused = run(cache, "purge", "alpine")
    held = from_each(cache, manifest_path("3"))
    asked = upstream.count()
    assert run(cache, "unpin", "alpine:3")[0] == 0
    purged = run(cache, "purge", "alpine")

    assert refused[0] == 1
    assert (digests(held), asked) == ([ONE.digest] * 2, 0)
    assert (purged[0], cache.check_blobs()) == (0, 0)


def test_both_workers_evict_around_a_pin_and_what_was_unpinned(
    tmp_path: Path, upstream: ThreadedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXYCACHE_STORAGE__MAX_SIZE", str(32 * MIB))
    monkeypatch.setenv("PROXYCACHE_STORAGE__MIN_FREE", "0")
    pinned = upstream.add_image(NAME, image(layers=1, layer_size=4 * MIB), tag="3").layers[0]
    contents = [upstream.add_blob("org/app", blob(4 * MIB, seed=number)) for number in range(24)]
    with RunningCache(tmp_path, upstream.url) as cache:
        for path in (manifest_path("3"), blob_path(pinned.digest)):
            assert cache.get(path).status == 200
        cache.wait_until_published(pinned.digest)

        def fill(some: slice) -> None:
            for number, content in enumerate(contents[some]):
                worker = cache.wait_for_workers()[number % 2]
                assert cache.connect(worker).get(f"/v2/org/app/blobs/{content.digest}").body == content.body

        assert run(cache, "pin", "alpine:3")[0] == 0
        fill(slice(12))
        assert cache.has_blob(pinned.digest)
        assert run(cache, "unpin", "alpine:3")[0] == 0
        fill(slice(12, 24))
        assert not cache.has_blob(pinned.digest)


def test_uses_of_both_workers_are_summed_and_kept(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    layer = upstream.add_blob(NAME, blob(MIB, seed="used"))
    assert cache.get(blob_path(layer.digest)).body == layer.body
    cache.wait_until_published(layer.digest)
    cache.wait_for_rows("SELECT 1 FROM blobs", 1)
    stored = usage_of(cache, layer.digest)

    seen = []
    for _ in range(2):
        for answer in from_each(cache, blob_path(layer.digest)):
            assert answer.body == layer.body
        assert cache.terminate() == 0
        seen.append(usage_of(cache, layer.digest))
        restart(cache)
    seen.append(usage_of(cache, layer.digest))

    assert [stored["uses"], *(each["uses"] for each in seen)] == [1, 3, 5, 5]
    assert stored["used_at"] < seen[0]["used_at"] < seen[1]["used_at"] == seen[2]["used_at"]
