"""Blobs come in every way that clients know, over any workers, and nothing that was acknowledged is lost."""

import pytest

from proxycache.events import BlobPushed
from tests.builders import Content, blob, content
from tests.integration import uploading
from tests.integration.harness import ELSEWHERE
from tests.integration.uploading import (
    NAME,
    UPLOADS,
    WAYS,
    assert_pushed,
    begin,
    data_of,
    finish,
    is_linked,
    patch,
    push_at_the_end,
    push_whole,
    sessions,
    stored,
)

SIZE = 3_000_000
WANTED = blob(SIZE)


# --- every way ---


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("size", [0, 1, 2, 70_000, SIZE])
@pytest.mark.parametrize("push", WAYS, ids=lambda push: push.__name__)
async def test_a_blob_comes_in_every_way(workers, push, size, algorithm):
    wanted = blob(size, algorithm=algorithm)

    answer = await push(workers, wanted)

    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["Location"] == f"/v2/{NAME}/blobs/{wanted.digest}"
    assert answer.headers["Docker-Content-Digest"] == wanted.digest
    await assert_pushed(workers[1], wanted)
    assert sessions(workers[0]) == []
    assert not await is_linked(workers[0], wanted.digest, "local/other")


async def test_a_session_says_what_docker_wants_to_know(cache):
    begun = await cache.send("POST", UPLOADS)
    location = begun.headers["Location"]
    session = location.removeprefix(UPLOADS)
    patched = await patch(cache, location, b"0123456789")
    status = await cache.send("GET", location)

    assert (begun.status, patched.status, status.status) == (202, 202, 204)
    assert [each.headers["Range"] for each in (begun, patched, status)] == ["0-0", "0-9", "0-9"]
    assert {each.headers["Location"] for each in (begun, patched, status)} == {UPLOADS + session}
    assert {each.headers["Docker-Upload-UUID"] for each in (begun, patched, status)} == {session}
    assert [each.headers.get("Content-Length") for each in (begun, patched, status)] == ["0", "0", None]


async def test_ns_that_names_ourselves_stays_out_of_the_location(cache):
    host = cache.url.removeprefix("http://")

    location = (await cache.send("POST", f"{UPLOADS}?ns={host}")).headers["Location"]

    assert "ns" not in location.removeprefix(UPLOADS)
    assert (await finish(cache, location, WANTED.digest, WANTED.body)).status == 201


async def test_an_upload_may_begin_without_the_last_slash(cache):
    answer = await cache.send("POST", UPLOADS.removesuffix("/"))

    assert answer.status == 202
    assert answer.headers["Location"].startswith(UPLOADS)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("named", ["sha256", "sha512"])
async def test_the_algorithm_may_be_named_first_and_be_another_at_the_end(workers, named, algorithm):
    wanted = blob(SIZE, algorithm=algorithm)
    location = await begin(workers[0], f"?digest-algorithm={named}")
    await patch(workers[0], location, wanted.body[:1_000_000])
    await patch(workers[1], location, wanted.body[1_000_000:])

    assert (await finish(workers[0], location, wanted.digest)).status == 201
    await assert_pushed(workers[0], wanted)


async def test_an_algorithm_that_nobody_knows_is_refused(cache):
    answer = await cache.send("POST", f"{UPLOADS}?digest-algorithm=md5")

    assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")


async def test_a_post_that_names_a_digest_and_sends_nothing_begins_a_session(cache):
    answer = await cache.send("POST", f"{UPLOADS}?digest={WANTED.digest}")

    assert answer.status == 202
    assert (await finish(cache, answer.headers["Location"], WANTED.digest, WANTED.body)).status == 201


@pytest.mark.parametrize(
    "query",
    [
        f"?mount={WANTED.digest}",
        f"?mount={WANTED.digest}&from=library/alpine",
        f"?mount={WANTED.digest}&from=local/other",
        f"?mount={WANTED.digest}&from=../..%00A",
        f"?mount={WANTED.digest}&from=nowhere.test/a",
        f"?mount={WANTED.digest}&from=",
        "?mount=sha256:x&from=library/alpine",
        "?mount=&from=",
    ],
)
async def test_what_cannot_be_mounted_can_be_uploaded(cache, query):
    location = await begin(cache, query)

    assert (await finish(cache, location, WANTED.digest, WANTED.body)).status == 201


async def test_what_the_repository_has_is_mounted(workers):
    await push_whole(workers, WANTED)

    answer = await workers[1].send("POST", f"{UPLOADS}?mount={WANTED.digest}&from={NAME}")

    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/{NAME}/blobs/{WANTED.digest}")
    assert answer.headers["Docker-Content-Digest"] == WANTED.digest
    assert sessions(workers[0]) == []


# --- what does not fit ---


@pytest.mark.parametrize("first", [0, 5, 9, 11, 1000])
@pytest.mark.parametrize("send", [patch, None], ids=["PATCH", "PUT"])
async def test_a_chunk_out_of_order_is_told_what_is_here(workers, send, first):
    location = await begin(workers[0])
    await patch(workers[0], location, WANTED.body[:10])

    if send is None:
        answer = await finish(workers[1], location, WANTED.digest, WANTED.body[first : first + 7], first)
    else:
        answer = await send(workers[1], location, WANTED.body[first : first + 7], first)

    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")
    assert (answer.headers["Range"], answer.headers["Location"]) == ("0-9", location)
    assert (await finish(workers[1], location, WANTED.digest, WANTED.body[10:], 10)).status == 201
    await assert_pushed(workers[0], WANTED)


@pytest.mark.parametrize(
    ("content_range", "code"), [("x", "BLOB_UPLOAD_INVALID"), ("9-0", "BLOB_UPLOAD_INVALID"), ("0-8", "SIZE_INVALID")]
)
async def test_a_range_that_makes_no_sense_changes_nothing(cache, content_range, code):
    location = await begin(cache)

    answer = await cache.send("PATCH", location, b"0123456789", {"Content-Range": content_range})

    assert (answer.status, answer.code) == (400, code)
    assert data_of(cache, location).read_bytes() == b""


@pytest.mark.parametrize(("sent", "kept"), [(9, 9), (11, 0)])
async def test_a_stream_must_be_as_long_as_its_range(cache, sent, kept):
    async def pieces():
        yield WANTED.body[:sent]

    location = await begin(cache)

    answer = await cache.send("PATCH", location, pieces(), {"Content-Range": "0-9"})

    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert data_of(cache, location).stat().st_size == kept


async def other_bytes_at_the_end(caches, digest):
    return await push_at_the_end(caches, Content(body=WANTED.body[1:], digest=digest, media_type=""))


async def other_bytes_at_once(caches, digest):
    return await push_whole(caches, Content(body=WANTED.body[1:], digest=digest, media_type=""))


async def other_bytes_before(caches, digest):
    location = await begin(caches[0])
    await patch(caches[0], location, WANTED.body[1:])
    return await finish(caches[1], location, digest)


@pytest.mark.parametrize("is_here", [False, True])
@pytest.mark.parametrize("push", [other_bytes_at_the_end, other_bytes_at_once, other_bytes_before])
async def test_nothing_is_kept_of_bytes_that_are_others(workers, push, is_here):
    if is_here:
        await push_whole(workers, WANTED)

    answer = await push(workers, WANTED.digest)

    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert "does not have the digest" in answer.message
    assert sessions(workers[0]) == []
    assert stored(workers[0], WANTED.digest) == (WANTED.body if is_here else None)
    assert await is_linked(workers[0], WANTED.digest) is is_here


@pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:x", "?digest=md5:" + "0" * 32])
async def test_a_digest_that_is_none_ends_no_session(cache, query):
    location = await begin(cache)
    await patch(cache, location, WANTED.body)

    answer = await cache.send("PUT", location + query)

    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert (await finish(cache, location, WANTED.digest)).status == 201


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "session", ["", "0f4be61f6c4a4d0f8a8f0e6f2b9c7d11", "..%2F..%2Fformat", "x", "a/b", "%00", "locks/../x"]
)
async def test_a_session_that_is_none_is_unknown(cache, method, session):
    answer = await cache.send(method, f"{UPLOADS}{session}?digest={WANTED.digest}", b"x" if method != "GET" else b"")

    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_a_session_belongs_to_one_repository(cache, method):
    location = await begin(cache)
    other = location.replace(NAME, "local/other")

    answer = await cache.send(method, f"{other}?digest={WANTED.digest}")

    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await finish(cache, location, WANTED.digest, WANTED.body)).status == 201


async def test_a_cancelled_session_is_gone_everywhere(workers):
    location = await begin(workers[0])
    await patch(workers[0], location, WANTED.body)

    answer = await workers[1].send("DELETE", location)

    assert (answer.status, answer.body) == (204, b"")
    assert sessions(workers[0]) == []
    assert (await finish(workers[0], location, WANTED.digest)).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "GET", "DELETE"])
async def test_nobody_pushes_to_an_upstreams_name(cache, upstream, method):
    answer = await cache.send(method, "/v2/library/alpine/blobs/uploads/", b"")

    assert (answer.status, answer.code, upstream.requests) == (405, "UNSUPPORTED", [])
    assert "local/" in answer.message


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "GET", "DELETE"])
async def test_who_may_not_push_learns_nothing_of_sessions(cache, method):
    location = await begin(cache)

    answer = await cache.send(method, location, b"", ELSEWHERE)

    assert answer.status in {401, 403}
    assert (await finish(cache, location, WANTED.digest, WANTED.body)).status == 201


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", UPLOADS, "POST, PATCH, PUT, GET, DELETE"),
        ("POST", f"{UPLOADS}0f4be61f6c4a4d0f8a8f0e6f2b9c7d11", "GET, PATCH, PUT, DELETE"),
        ("POST", f"/v2/{NAME}/tags/list", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_none_is_told_the_others(cache, method, path, allowed):
    answer = await cache.send(method, path)

    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


# --- what is told of it ---


async def test_a_push_is_told_and_counted(cache):
    wanted = content(b"x" * 1000)

    await uploading.push_as_stream([cache, cache], wanted)

    [event] = [event for event in cache.events if isinstance(event, BlobPushed)]
    assert (event.repository, event.digest, event.size) == (NAME, wanted.digest, 1000)
    metrics = (await cache.get("/-/metrics")).body.decode()
    assert "proxycache_pushed_blobs_total 1.0" in metrics
    assert "proxycache_pushed_bytes_total 1000.0" in metrics
