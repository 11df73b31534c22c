"""Routes to an upstream: by bare name, by `ns`, by path prefix, all at once; nobody else is ever contacted."""

import asyncio

import pytest

from tests.builders import image

HUB, GHCR = image(seed="hub"), image(seed="ghcr")


@pytest.fixture(autouse=True)
def content(upstream, other_upstream) -> None:
    upstream.add_image("library/app", HUB, tag="1")
    upstream.add_image("org/app", HUB, tag="1")
    other_upstream.add_image("org/app", GHCR, tag="1")


@pytest.mark.parametrize(
    ("name", "query", "expected"),
    [
        ("app", "", HUB),
        ("library/app", "", HUB),
        ("org/app", "", HUB),
        ("app", "?ns=docker.io", HUB),
        ("library/app", "?ns=docker.io", HUB),
        ("app", "?ns=registry-1.docker.io", HUB),
        ("app", "?ns=index.docker.io", HUB),
        ("docker.io/app", "", HUB),
        ("docker.io/library/app", "", HUB),
        ("docker.io/org/app", "?ns=docker.io", HUB),
        ("org/app", "?ns=ghcr.io", GHCR),
        ("ghcr.io/org/app", "", GHCR),
        ("ghcr.io/org/app", "?ns=ghcr.io", GHCR),
        ("ghcr.io/org/app", "?ns=127.0.0.1:{port}", GHCR),
        ("org/app", "?ns=127.0.0.1:{port}", HUB),
        ("org/app", "?ns=localhost:{port}", HUB),
        ("org/app", "?ns=", HUB),
    ],
)
async def test_every_style_leads_to_its_upstream(cache, name, query, expected):
    query = query.format(port=cache.url.rpartition(":")[2])

    got = await cache.get(f"/v2/{name}/manifests/1{query}")

    assert (got.status, got.body) == (200, expected.body)


async def test_all_styles_share_what_is_held(cache, upstream):
    await cache.get("/v2/org/app/manifests/1")
    upstream.requests.clear()

    got = [
        await cache.get(f"/v2/{name}") for name in ("org/app/manifests/1?ns=docker.io", "docker.io/org/app/manifests/1")
    ]

    assert {each.body for each in got} == {HUB.body}
    assert upstream.requests == []


async def test_the_same_name_at_two_registries_is_two_repositories(cache):
    got = [await cache.get(f"/v2/{name}/manifests/1") for name in ("org/app", "ghcr.io/org/app", "org/app")]

    assert [each.body for each in got] == [HUB.body, GHCR.body, HUB.body]


@pytest.mark.parametrize(
    "host", ["registry.example", "localhost", "localhost:5000", "10.0.0.1", "evil.example:80", "[::1]:80"]
)
@pytest.mark.parametrize("style", ["{host}/org/app/manifests/1", "org/app/manifests/1?ns={host}"])
async def test_a_host_that_is_not_configured_is_never_contacted(cache, upstream, other_upstream, host, style):
    got = await cache.get("/v2/" + style.format(host=host))

    assert got.status in {400, 404}
    assert (upstream.requests, other_upstream.requests) == ([], [])


async def test_a_configured_hosts_own_address_is_not_a_name_for_it(cache, upstream):
    got = await cache.get(f"/v2/org/app/manifests/1?ns={upstream.host}")

    assert (got.status, got.code, upstream.requests) == (404, "NAME_UNKNOWN", [])


@pytest.mark.parametrize("name", ["local/app", "local/a/b"])
@pytest.mark.parametrize("what", ["manifests/1", f"blobs/{HUB.digest}", "tags/list", f"referrers/{HUB.digest}"])
async def test_a_local_name_is_never_asked_upstream(cache, upstream, name, what):
    upstream.add_image(name, HUB, tag="1")

    got = await cache.get(f"/v2/{name}/{what}")

    # Nothing refers to a digest that nobody has either (distribution-spec, "Listing Referrers").
    assert (got.status, upstream.requests) == (200 if what.startswith("referrers") else 404, [])


async def test_a_name_below_a_named_upstream_is_not_local(cache, upstream):
    upstream.add_image("local/app", HUB, tag="1")

    got = [
        await cache.get(f"/v2/{path}")
        for path in ("docker.io/local/app/manifests/1", "local/app/manifests/1?ns=docker.io")
    ]

    assert [each.status for each in got] == [200, 200]


@pytest.mark.parametrize("name", ["UPPER/app", "a//b", "-a", "a/b.", "x" * 300, "a%20b", "a%00b", "_x/y"])
async def test_a_name_outside_of_the_grammar_is_refused(cache, upstream, name):
    got = await cache.get(f"/v2/{name}/manifests/1")

    assert got.status in {400, 404}
    assert upstream.requests == []


@pytest.mark.parametrize("tag", [".a", "-a", "a" * 129, "a%20b", "a%0ab"])
async def test_a_tag_outside_of_the_grammar_is_refused(cache, upstream, tag):
    got = await cache.get(f"/v2/app/manifests/{tag}")

    assert (got.status, upstream.requests) == (400, [])


@pytest.mark.parametrize("digest", ["sha256:abc", "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha256:../../etc/passwd"])
@pytest.mark.parametrize("what", ["blobs", "manifests", "referrers"])
async def test_a_digest_outside_of_the_grammar_is_refused(cache, upstream, what, digest):
    got = await cache.get(f"/v2/app/{what}/{digest.replace('/', '%2f')}")

    assert got.status in {400, 404}
    assert upstream.requests == []


async def test_who_pushes_to_an_upstreams_name_is_told_where_to_push(cache, upstream):
    got = await cache.ask("POST", "/v2/app/blobs/uploads/")

    assert (got.status, got.code, upstream.requests) == (405, "UNSUPPORTED", [])
    assert got.message.startswith("docker.io/library/app: ")
    assert "below local/" in got.message


@pytest.mark.parametrize("path", ["/v2/", "/v2/app/manifests/1", f"/v2/app/blobs/{HUB.digest}", "/v2/app/tags/list"])
async def test_a_request_that_passed_through_us_is_refused(cache, upstream, path):
    got = await cache.get(path, {"Via": f"1.1 elsewhere, 1.1 {cache.parts.via}"})

    assert (got.status, upstream.requests) == (508, [])


async def test_an_upstream_that_leads_back_to_us_ends_in_an_error(start, upstream):
    first = await start()
    looping = await start(url=first.url)
    first.edge.services = looping.edge.services

    async with asyncio.timeout(5):
        got = await looping.get("/v2/app/manifests/2")

    assert got.status in {502, 508}
    assert upstream.requests == []


async def test_a_request_that_came_through_another_cache_is_served(cache):
    got = await cache.get("/v2/app/manifests/1", {"Via": "1.1 proxycache-of-somebody-else"})

    assert got.body == HUB.body


async def test_it_says_to_upstreams_who_it_is(cache, upstream):
    await cache.get("/v2/app/manifests/1")

    assert {seen.headers["Via"] for seen in upstream.requests} == {f"1.1 {cache.parts.via}"}
    assert {seen.headers["Accept-Encoding"] for seen in upstream.requests} == {"identity"}
