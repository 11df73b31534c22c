"""Hit: what is on disk is served from there, and nobody upstream hears of it."""

import fcntl
import hashlib
import sqlite3

import pytest

from tests.builders import Content, blob
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache

NAME = "library/alpine"
SMALL, LARGE = 2_000, 300_000


async def fill(cache: Cache, upstream: FakeRegistry, content: Content) -> Content:
    """Let `cache` hold what the upstream has, and the upstream forget that it was asked."""
    upstream.add_blob(NAME, content)
    answer = await cache.get_blob(NAME, content.digest)
    assert answer.body == content.body
    await cache.wait_for_fills()
    upstream.requests.clear()
    return content


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
async def test_a_held_blob_is_served_without_its_upstream(cache, upstream, size):
    held = await fill(cache, upstream, blob(size))
    await upstream.stop()

    answers = [await cache.get_blob(NAME, held.digest) for _ in range(3)]

    assert {(answer.status, answer.body, answer.is_complete) for answer in answers} == {(200, held.body, True)}


async def test_a_blob_is_held_byte_for_byte_read_only_under_its_digest(cache, upstream):
    held = await fill(cache, upstream, blob(LARGE))

    [path] = [path for path in cache.parts.layout.blobs.rglob("*") if path.is_file()]

    assert path.name == hashlib.sha256(path.read_bytes()).hexdigest() == held.digest.partition(":")[2]
    assert path.stat().st_mode & 0o222 == 0


async def test_nothing_is_left_among_the_spools_after_a_fill(cache, upstream):
    await fill(cache, upstream, blob(LARGE))

    assert list(cache.parts.layout.spools.iterdir()) == []


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_the_headers_say_what_it_is(cache, upstream, size):
    held = await fill(cache, upstream, blob(size))

    for answer in [await cache.get_blob(NAME, held.digest) for _ in range(2)]:
        assert answer.headers["Docker-Content-Digest"] == held.digest
        assert answer.headers["Content-Length"] == str(size)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["ETag"] == f'"{held.digest}"'
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["OCI-Namespace"] == "docker.io"
        assert "Date" in answer.headers


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_head_tells_the_size_without_a_body(cache, upstream, size):
    held = await fill(cache, upstream, blob(size))

    for answer in [await cache.head(f"/v2/{NAME}/blobs/{held.digest}") for _ in range(2)]:
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, str(size), b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
async def test_a_client_that_has_it_gets_304(cache, upstream, method, condition):
    held = await fill(cache, upstream, blob(SMALL))
    asked = {"If-None-Match": condition.format(held.digest)}

    answer = await cache.ask(method, f"/v2/{NAME}/blobs/{held.digest}", asked)

    assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", f'"{held.digest}"')


async def test_a_client_that_has_something_else_gets_it_all(cache, upstream):
    held = await fill(cache, upstream, blob(SMALL))

    answer = await cache.get_blob(NAME, held.digest, {"If-None-Match": '"sha256:other"'})

    assert (answer.status, answer.body) == (200, held.body)


async def test_what_one_worker_has_every_worker_serves_at_once(workers, upstream):
    first, second = workers
    held = await fill(first, upstream, blob(LARGE))

    answer = await second.get_blob(NAME, held.digest)

    assert answer.body == held.body
    assert upstream.requests == []


async def test_it_is_held_over_a_restart(start, upstream):
    before = await start()
    held = await fill(before, upstream, blob(LARGE))
    await before.stop()
    await upstream.stop()

    answer = await (await start()).get_blob(NAME, held.digest)

    assert answer.body == held.body


async def test_public_content_is_served_whatever_public_repository_asks_for_it(cache, upstream):
    held = await fill(cache, upstream, blob(LARGE))

    answer = await cache.get_blob("ghcr.io/org/app", held.digest)

    assert answer.body == held.body


async def test_a_blob_whose_file_is_gone_is_a_miss(cache, upstream):
    held = await fill(cache, upstream, blob(LARGE))
    for path in cache.parts.layout.blobs.rglob(held.digest.partition(":")[2]):
        path.unlink()

    answer = await cache.get_blob(NAME, held.digest)

    assert answer.body == held.body
    assert upstream.count("GET", held.digest) == 1


async def test_a_blob_without_a_row_is_not_fetched_again(cache, upstream):
    held = await fill(cache, upstream, blob(LARGE))
    with sqlite3.connect(cache.parts.layout.database) as rows:
        rows.execute("DELETE FROM links")
        rows.execute("DELETE FROM blobs")
    rows.close()

    answer = await cache.get_blob(NAME, held.digest)

    assert answer.body == held.body
    assert upstream.count("GET") == 0


async def test_a_sha512_blob_is_held_like_any_other(cache, upstream):
    held = await fill(cache, upstream, blob(LARGE, algorithm="sha512"))
    await upstream.stop()

    answer = await cache.get_blob(NAME, held.digest)

    assert answer.body == held.body


async def test_clients_that_read_at_different_speeds_do_not_disturb_each_other(cache, upstream):
    held = await fill(cache, upstream, blob(LARGE))

    async with cache.open(f"/v2/{NAME}/blobs/{held.digest}") as slow:
        fast = await cache.get_blob(NAME, held.digest)
        body = await slow.read()

    assert fast.body == body == held.body


async def test_a_blob_that_somebody_is_removing_passes_through(cache, upstream):
    held = await fill(cache, upstream, blob(LARGE))
    [path] = [path for path in cache.parts.layout.blobs.rglob("*") if path.is_file()]

    with path.open("rb") as being_removed:
        fcntl.flock(being_removed, fcntl.LOCK_EX)
        got = await cache.get_blob(NAME, held.digest)

    assert (got.status, got.body) == (200, held.body)
