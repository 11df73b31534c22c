"""What a client gets (DESIGN's table), row by row and for each way of asking."""

import asyncio

import pytest

from proxycache.store.spool import HELD_BACK_BYTES
from tests.builders import blob, image
from tests.fakes.auth import TokenAuth
from tests.fakes.faults import answer, never_answer, rate_limited
from tests.fakes.vanishing import full_backlog

NAME = "library/alpine"
IMAGE = image()
BLOB = blob(HELD_BACK_BYTES * 2)
BARE, NS, PREFIX = "/v2/library/alpine/{}", "/v2/library/alpine/{}?ns=docker.io", "/v2/docker.io/library/alpine/{}"
STYLES = [BARE, NS, PREFIX]
MANIFEST, BY_DIGEST, LAYER, TAG_LIST = "manifests/3", f"manifests/{IMAGE.digest}", f"blobs/{BLOB.digest}", "tags/list"
EVERYTHING = [MANIFEST, BY_DIGEST, LAYER, TAG_LIST, f"referrers/{IMAGE.digest}"]
THINGS = [
    (MANIFEST, "MANIFEST_UNKNOWN"),
    (BY_DIGEST, "MANIFEST_UNKNOWN"),
    (LAYER, "BLOB_UNKNOWN"),
    (TAG_LIST, "NAME_UNKNOWN"),
]


@pytest.fixture
def content(upstream) -> None:
    upstream.add_image(NAME, IMAGE, tag="3")
    upstream.add_blob(NAME, BLOB)


@pytest.mark.parametrize("style", STYLES)
async def test_held_and_fresh_is_200(cache, upstream, content, style):
    await cache.get(style.format(MANIFEST))
    await upstream.stop()

    got = await cache.get(style.format(MANIFEST))

    assert (got.status, got.body, "Warning" in got.headers) == (200, IMAGE.body, False)


@pytest.mark.parametrize("style", STYLES)
async def test_held_while_the_upstream_fails_is_200_with_a_warning(cache, upstream, content, clock, style):
    await cache.get(style.format(MANIFEST))
    await upstream.stop()
    clock.advance(1000)

    got = await cache.get(style.format(MANIFEST))
    lacking = await cache.get(style.format(LAYER))

    assert (got.status, got.headers["Age"], got.headers["Warning"][:3]) == (200, "1000", "299")
    assert (lacking.status, lacking.code) == (502, "UNKNOWN")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("thing", "code"), THINGS)
async def test_what_the_upstream_lacks_is_404_with_the_code_of_the_thing(cache, style, thing, code):
    got = await cache.get(style.format(thing))

    assert (got.status, got.code) == (404, code)
    assert got.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("refusal", [answer(401), answer(403)])
@pytest.mark.parametrize(("thing", "code"), THINGS)
async def test_a_mirrors_client_goes_on_when_the_upstream_refuses_us(cache, upstream, thing, code, refusal):
    upstream.faults.add(refusal, times=None)

    got = [await cache.get(style.format(thing)) for style in (BARE, NS)]

    assert [(each.status, each.code) for each in got] == [(404, code)] * 2


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "DENIED")])
@pytest.mark.parametrize("thing", [MANIFEST, BY_DIGEST, LAYER, TAG_LIST])
async def test_by_prefix_a_refusal_is_passed_on_with_the_reason(cache, upstream, thing, status, code):
    upstream.faults.add(answer(status), times=None)

    got = await cache.get(PREFIX.format(thing))

    assert (got.status, got.code) == (status, code)
    assert "docker.io" in got.message


async def test_by_prefix_what_is_private_upstream_is_401_with_the_reason(cache, upstream, content):
    upstream.auth = TokenAuth(username="ann", password="secret", private={NAME})

    got = [await cache.get(style.format(MANIFEST)) for style in STYLES]

    assert [each.status for each in got] == [404, 404, 401]


@pytest.mark.parametrize("thing", [MANIFEST, BY_DIGEST, LAYER])
async def test_a_rate_limit_is_passed_on_but_to_containerd(cache, upstream, content, thing):
    upstream.faults.add(rate_limited("17"), times=None)

    bare, namespace, prefix = [await cache.get(style.format(thing)) for style in STYLES]

    assert [(each.status, each.code) for each in (bare, prefix)] == [(429, "TOOMANYREQUESTS")] * 2
    assert {each.headers["Retry-After"] for each in (bare, prefix)} == {"17"}
    assert (namespace.status, namespace.code) == (503, "UNKNOWN")


@pytest.mark.parametrize(
    "path", [each.format(MANIFEST) for each in STYLES] + [BARE.format(each) for each in EVERYTHING]
)
@pytest.mark.parametrize(("trouble", "status"), [(answer(500), 502), (answer(418), 502), (never_answer(), 504)])
async def test_an_upstream_that_fails_is_told_apart_from_one_that_is_slow(start, upstream, path, trouble, status):
    cache = await start(answer_within=0.3)
    upstream.faults.add(trouble, times=None)

    got = await cache.get(path)

    assert (got.status, got.code) == (status, "UNKNOWN")


@pytest.mark.parametrize("thing", [MANIFEST, BY_DIGEST, LAYER, TAG_LIST])
async def test_packets_that_vanish_are_a_timeout(start, thing):
    with full_backlog() as port:
        cache = await start(url=f"http://127.0.0.1:{port}", answer_within=0.4)

        async with asyncio.timeout(1.5):
            got = await cache.get(BARE.format(thing))

    assert got.status == 504


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("thing", [MANIFEST, LAYER])
async def test_draining_is_503(cache, content, style, thing):
    await cache.get(style.format(thing))
    await cache.get(style.format(thing))

    cache.edge.begin_drain()
    got = await cache.get(style.format(thing))

    assert (got.status, "Retry-After" in got.headers) == (503, True)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("thing", [MANIFEST, "blobs/uploads/", "blobs/uploads/some-id"])
async def test_writing_to_an_upstreams_name_is_not_supported(cache, upstream, method, thing):
    got = [await cache.ask(method, style.format(thing)) for style in STYLES]

    assert {(each.status, each.code, each.headers["Allow"]) for each in got} == {(405, "UNSUPPORTED", "GET, HEAD")}
    assert upstream.requests == []


@pytest.mark.parametrize("thing", [*EVERYTHING, "manifests/-bad"])
@pytest.mark.parametrize("trouble", [answer(404), answer(500), answer(429), answer(403)])
async def test_the_answer_to_a_head_has_the_status_of_the_get_and_no_body(cache, upstream, thing, trouble):
    upstream.faults.add(trouble, times=None)

    got, head = await cache.get(PREFIX.format(thing)), await cache.head(PREFIX.format(thing))

    assert (head.status, head.body) == (got.status, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


async def test_the_base_says_that_this_is_a_registry(cache):
    got = [await cache.ask(method, path) for method in ("GET", "HEAD") for path in ("/v2/", "/v2")]

    assert {each.status for each in got} == {200}
    assert {each.headers["Docker-Distribution-Api-Version"] for each in got} == {"registry/2.0"}


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2/x", "/v2/alpine/other/3", "/v2/alpine/tags/other", "/-/nothing"])
async def test_a_path_that_means_nothing_is_404(cache, upstream, path):
    got = await cache.get(path)

    assert (got.status, got.code, upstream.requests) == (404, "NAME_UNKNOWN", [])


async def test_operators_see_that_it_lives_and_while_it_drains_that_it_is_not_ready(cache, content):
    await cache.get(BARE.format(MANIFEST))
    before = [(await cache.get(f"/-/{page}")).status for page in ("health", "ready", "metrics")]
    cache.edge.begin_drain()
    after = [(await cache.get(f"/-/{page}")).status for page in ("health", "ready", "metrics")]

    assert (before, after) == ([200, 200, 200], [200, 503, 200])


async def test_no_error_tells_a_secret(start, upstream):
    cache = await start(username="user-of-ours", password_file="/nonexistent/secret-file")

    got = await cache.get(PREFIX.format(MANIFEST))

    assert got.status >= 400
    assert not [word for word in ("user-of-ours", "/nonexistent", "secret") if word in got.body.decode()]
    assert "its credential cannot be read" in got.message
