"""A push that the database or the disk refuses at its very end: nothing is lost, and no answer says where it lies."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.store import database
from tests.builders import blob, content
from tests.integration.harness import Answer, Cache
from tests.integration.test_disk_trouble import break_database, replace_by_file
from tests.integration.uploading import (
    NAME,
    UPLOADS,
    assert_pushed,
    begin,
    data_of,
    finish,
    is_linked,
    offset,
    patch,
    push_whole,
    sessions,
    stored,
)

WANTED = blob(300_000)
HALF = WANTED.size // 2


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches that start from now on wait for the database for a moment only."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)


@contextmanager
def busy(cache: Cache) -> Iterator[None]:
    """Hold the write lock of the database."""
    with closing(sqlite3.connect(cache.parts.layout.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def refuse_the_end(cache: Cache) -> str:
    """Push while there can be no row, and return the location of the session."""
    location = await begin(cache)
    await patch(cache, location, WANTED.body[:HALF])
    with busy(cache):
        answer = await finish(cache, location, WANTED.digest, WANTED.body[HALF:], HALF)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert not await is_linked(cache, WANTED.digest)
    return location


@pytest.mark.parametrize("who", ["the same worker", "another worker", "a new process"])
async def test_a_push_that_could_not_be_recorded_ends_without_sending_again(start, who):
    cache = await start()
    location = await refuse_the_end(cache)
    if who != "the same worker":
        other = await start()
        if who == "a new process":
            await cache.stop()
        cache = other

    here = await offset(cache, location)
    answer = await finish(cache, location, WANTED.digest)

    assert (here, answer.status) == (WANTED.size, 201)
    await assert_pushed(cache, WANTED)
    assert (await cache.get_blob(NAME, WANTED.digest)).body == WANTED.body
    assert sessions(cache) == []
    assert (await finish(cache, location, WANTED.digest)).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("start_at", [HALF, None])
async def test_the_whole_request_may_come_again(workers, start_at):
    location = await refuse_the_end(workers[0])

    again = await finish(workers[1], location, WANTED.digest, WANTED.body[HALF:], start_at)

    assert again.status == 201
    await assert_pushed(workers[0], WANTED)


async def test_a_database_that_stays_busy_refuses_again_and_loses_nothing(workers):
    location = await refuse_the_end(workers[0])
    with busy(workers[0]):
        again = [await finish(each, location, WANTED.digest) for each in workers]

    assert [answer.status for answer in again] == [503, 503]
    assert (await finish(workers[1], location, WANTED.digest)).status == 201
    await assert_pushed(workers[0], WANTED)


async def test_nothing_that_is_sent_to_a_verified_session_reaches_its_blob(workers):
    location = await refuse_the_end(workers[0])

    answers = [await patch(each, location, b"more") for each in workers]
    answers += [await patch(each, location, b"more", WANTED.size) for each in workers]

    assert {(answer.status, answer.code) for answer in answers} == {(400, "BLOB_UPLOAD_INVALID")}
    assert stored(workers[0], WANTED.digest) == WANTED.body
    assert not data_of(workers[0], location).exists()
    assert (await finish(workers[1], location, WANTED.digest)).status == 201


async def test_a_verified_session_is_no_other_blob(workers):
    location = await refuse_the_end(workers[0])

    answer = await finish(workers[1], location, content(b"others").digest)

    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert sessions(workers[0]) == []
    assert stored(workers[0], WANTED.digest) == WANTED.body


async def test_a_verified_session_is_cancelled_as_any_other(workers):
    location = await refuse_the_end(workers[0])

    assert (await workers[1].send("DELETE", location)).status == 204
    assert sessions(workers[0]) == []
    assert not await is_linked(workers[0], WANTED.digest)


async def test_a_blob_that_has_gone_since_has_to_be_sent_again(workers):
    location = await refuse_the_end(workers[0])
    workers[0].parts.layout.blob(parse_digest(WANTED.digest)).unlink()

    assert (await finish(workers[1], location, WANTED.digest)).code == "BLOB_UPLOAD_UNKNOWN"
    assert (await push_whole(workers, WANTED)).status == 201


async def push_while_busy(cache: Cache) -> Answer:
    with busy(cache):
        return await push_whole([cache], WANTED)


async def push_without_uploads(cache: Cache) -> Answer:
    replace_by_file(cache.parts.layout.uploads)
    return await cache.send("POST", UPLOADS)


async def push_without_blobs(cache: Cache) -> Answer:
    replace_by_file(cache.parts.layout.blobs)
    return await push_whole([cache], WANTED)


async def push_without_database(cache: Cache) -> Answer:
    break_database(cache.parts.layout)
    return await push_whole([cache], WANTED)


TROUBLES = {
    push_while_busy: ("the database of this cache is busy: ask again", "is busy: another writer holds its lock"),
    push_without_uploads: ("the disk of this cache cannot be used now: ask again", "Not a directory"),
    push_without_blobs: ("the disk of this cache cannot be used now: ask again", "File exists"),
    push_without_database: ("the disk of this cache cannot be used now: ask again", "is damaged"),
}


@pytest.mark.parametrize("push", TROUBLES)
async def test_the_client_hears_what_to_do_and_the_log_says_once_what_is_wrong(start, caplog, push):
    cache = await start()
    told, logged = TROUBLES[push]

    answer = await push(cache)

    assert (answer.status, answer.code, answer.message) == (503, "UNKNOWN", told)
    assert str(cache.parts.layout.directory) not in answer.body.decode()
    [record] = [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    assert record.message == "request failed"
    assert str(cache.parts.layout.directory) in record.why
    assert logged in record.why
