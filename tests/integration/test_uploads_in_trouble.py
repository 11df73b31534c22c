"""Uploads that meet each other, restarts, clients that leave or stop, a full disk: nothing accepted is lost."""

import asyncio
import gzip
import os
import resource
import signal
from collections.abc import Iterator

import pytest

from proxycache.maintenance.expire_uploads import expire_uploads
from proxycache.oci.digest import parse_digest
from proxycache.web import request_body
from tests.builders import blob, content
from tests.integration.harness import ELSEWHERE
from tests.integration.uploading import (
    UPLOADS,
    WAYS,
    assert_pushed,
    begin,
    eventually,
    finish,
    is_linked,
    offset,
    patch,
    patch_chunked,
    push_at_the_end,
    push_whole,
    raw_request,
    sessions,
    stored,
    until_written,
)

SIZE = 3_000_000
MOST_BYTES = 1_000_000
WANTED = blob(SIZE)


# --- several at once, and in several lives ---


async def test_many_sessions_of_one_digest_all_end_well(workers):
    async with asyncio.TaskGroup() as group:
        pushes = [group.create_task(way(workers, WANTED)) for way in WAYS * 3]

    assert {push.result().status for push in pushes} == {201}
    await assert_pushed(workers[0], WANTED)
    assert sessions(workers[0]) == []


async def test_a_blob_that_is_cached_is_linked_by_a_push(workers, upstream):
    held = upstream.add_blob("library/alpine", SIZE)
    await workers[0].get_blob("library/alpine", held.digest)
    await workers[0].wait_for_fills()
    assert not await is_linked(workers[0], held.digest)

    assert (await push_at_the_end(workers, held)).status == 201

    await assert_pushed(workers[1], held)


async def test_a_session_outlives_every_process(start):
    first = await start()
    location = await begin(first)
    await patch(first, location, WANTED.body[:1_000_001])
    await first.stop()

    second = await start()

    assert await offset(second, location) == 1_000_001
    assert (await finish(second, location, WANTED.digest, WANTED.body[1_000_001:])).status == 201
    await assert_pushed(second, WANTED)


async def test_requests_to_one_session_take_turns(workers):
    location = await begin(workers[0])
    async with raw_request(workers[0], "PATCH", location, f"Content-Length: {SIZE}") as (_, writer):
        writer.write(WANTED.body[:100])
        await until_written(workers[0], location, 100)
        second = asyncio.get_running_loop().create_task(patch(workers[1], location, b"x" * 10, 0))
        writer.write(WANTED.body[100:])
        answer = await second

    assert (answer.status, answer.headers["Range"]) == (416, f"0-{SIZE - 1}")
    assert (await finish(workers[1], location, WANTED.digest)).status == 201


@pytest.mark.parametrize("header", [f"Content-Length: {SIZE}", "Transfer-Encoding: chunked"])
async def test_what_came_before_a_client_left_stays(workers, header):
    sent = 1_500_000
    location = await begin(workers[0])
    async with raw_request(workers[0], "PATCH", location, header) as (_, writer):
        if "chunked" in header:
            writer.write(f"{SIZE:x}\r\n".encode())
        writer.write(WANTED.body[:sent])
        await until_written(workers[0], location, sent)

    await eventually(workers[1], location, sent)
    answer = await finish(workers[1], location, WANTED.digest, WANTED.body[sent:], sent)
    assert answer.status == 201
    await assert_pushed(workers[0], WANTED)


@pytest.mark.parametrize("header", ["Content-Length: 20", "Transfer-Encoding: chunked"])
async def test_what_came_of_a_small_body_stays(workers, monkeypatch, header):
    monkeypatch.setattr(request_body, "STALL_SECONDS", 0.2)
    location = await begin(workers[0])
    async with raw_request(workers[0], "PATCH", location, header) as (reader, writer):
        writer.write(b"14\r\n0123456789" if "chunked" in header else b"0123456789")
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()

    assert answer.startswith("HTTP/1.1 408 ")
    assert await offset(workers[1], location) == 10
    assert (await finish(workers[1], location, content(b"0123456789x").digest, b"x", 10)).status == 201


async def test_nothing_stays_of_a_whole_push_that_was_cut(cache):
    async with raw_request(cache, "POST", f"{UPLOADS}?digest={WANTED.digest}", f"Content-Length: {SIZE}") as (_, out):
        out.write(WANTED.body[:1_000_000])
        async with asyncio.timeout(10):
            while not any(path.stat().st_size for path in sessions(cache) if path.suffix == ".data"):
                await asyncio.sleep(0.01)

    async with asyncio.timeout(10):
        while sessions(cache):
            await asyncio.sleep(0.01)
    assert stored(cache, WANTED.digest) is None


async def test_the_end_of_a_push_does_not_need_its_client(cache):
    location = await begin(cache)
    await patch(cache, location, WANTED.body)
    async with cache.parts.fill_services.recorder.publishing(parse_digest(WANTED.digest)):
        async with raw_request(cache, "PUT", f"{location}?digest={WANTED.digest}", "Content-Length: 0"):
            async with asyncio.timeout(10):
                while f"publish {WANTED.digest}" not in {task.get_name() for task in asyncio.all_tasks()}:
                    await asyncio.sleep(0.01)
        await cache.head("/v2/")  # by now the worker has seen that the client is gone

    async with asyncio.timeout(10):
        while not await is_linked(cache, WANTED.digest):
            await asyncio.sleep(0.01)
    assert stored(cache, WANTED.digest) == WANTED.body


# --- clients that ask first, and clients that stop ---


async def test_who_asks_first_is_told_to_send(cache):
    location = await begin(cache)
    head = ["Expect: 100-continue", f"Content-Length: {SIZE}"]

    async with raw_request(cache, "PUT", f"{location}?digest={WANTED.digest}", *head) as (reader, writer):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(WANTED.body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")

    await assert_pushed(cache, WANTED)


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/v2/library/alpine/blobs/uploads/", (), 405),
        (f"{UPLOADS}0f4be61f6c4a4d0f8a8f0e6f2b9c7d11", (), 404),
        (UPLOADS, tuple(f"{name}: {text}" for name, text in ELSEWHERE.items()), None),
    ],
)
async def test_who_asks_first_and_is_refused_need_not_send(cache, path, more, status):
    head = ["Expect: 100-continue", f"Content-Length: {SIZE}", *more]

    async with raw_request(cache, "PATCH", path, *head) as (reader, _):
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()

    assert answer.split()[1] in ({str(status)} if status else {"401", "403"})
    assert "connection: close" in answer.lower()


async def test_a_client_that_stops_sending_is_not_waited_for(cache, monkeypatch):
    monkeypatch.setattr(request_body, "STALL_SECONDS", 0.2)
    location = await begin(cache)

    async with raw_request(cache, "PATCH", location, f"Content-Length: {SIZE}") as (reader, writer):
        writer.write(WANTED.body[:1000])
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()

    assert answer.startswith("HTTP/1.1 408 ")
    assert "connection: close" in answer.lower()
    assert await offset(cache, location) == 1000


async def test_a_broken_encoding_ends_the_request_and_nothing_else(cache, monkeypatch):
    monkeypatch.setattr(request_body, "STALL_SECONDS", 0.2)
    location = await begin(cache)

    async with raw_request(cache, "PATCH", location, "Transfer-Encoding: chunked") as (reader, writer):
        writer.write(b"30d40\r\n" + WANTED.body[:200_000] + b"\r\n")
        await until_written(cache, location, 200_000)
        writer.write(b"zz\r\n")
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()

    assert answer.split()[1] in {"400", "408"}
    assert await offset(cache, location) == 200_000
    assert (await patch(cache, location, b"x", 200_000)).status == 202


async def test_what_is_sent_is_never_decoded(cache):
    wanted = content(gzip.compress(b"x" * 100_000))
    location = await begin(cache)

    answer = await cache.send("PATCH", location, wanted.body, {"Content-Encoding": "gzip"})

    assert answer.headers["Range"] == f"0-{wanted.size - 1}"
    assert (await finish(cache, location, wanted.digest)).status == 201


# --- the disk ---


@pytest.fixture
def small_files() -> Iterator[None]:
    """The system refuses to let any file grow beyond MOST_BYTES, as a full disk does, until the test lifts that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def lift_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("has_length", [True, False])
async def test_a_full_disk_refuses_the_rest_and_loses_nothing(workers, small_files, has_length):
    location = await begin(workers[0])
    await patch(workers[0], location, WANTED.body[:500_000])

    if has_length:
        answer = await patch(workers[1], location, WANTED.body[500_000:])
    else:
        answer = await patch_chunked(workers[1], location, [WANTED.body[500_000:]])
    here = await offset(workers[0], location)

    assert (answer.status, answer.code) == (507, "UNKNOWN")
    assert 500_000 <= here <= MOST_BYTES
    lift_limit()
    assert (await finish(workers[0], location, WANTED.digest, WANTED.body[here:], here)).status == 201
    await assert_pushed(workers[1], WANTED)


async def test_a_bound_that_cannot_be_kept_refuses_uploads(start):
    cache = await start(min_free=2**60)

    answers = [await push_whole([cache], WANTED), await patch(cache, await begin(cache), b"x")]

    assert {(answer.status, answer.code) for answer in answers} == {(507, "UNKNOWN")}


async def test_an_upload_is_not_in_the_budget(start):
    cache = await start(max_size=10_000_000, min_free=0)
    wanted = blob(20_000_000)

    assert (await push_at_the_end([cache, cache], wanted)).status == 201


async def test_without_a_folder_for_uploads_nothing_can_be_pushed(cache):
    cache.parts.layout.uploads.rmdir()

    answer = await cache.send("POST", UPLOADS)

    assert (answer.status, answer.code) == (503, "UNKNOWN")


async def test_sessions_expire(cache):
    location = await begin(cache)
    for path in sessions(cache):
        moment = cache.parts.clock.now() - 86_401
        os.utime(path, (moment, moment))
    expiring = asyncio.get_running_loop().create_task(expire_uploads(cache.parts.uploads))
    async with asyncio.timeout(10):
        while sessions(cache):
            await asyncio.sleep(0.01)
    expiring.cancel()

    assert (await cache.send("GET", location)).code == "BLOB_UPLOAD_UNKNOWN"
