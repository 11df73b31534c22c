"""Tokens: what they are given for, to whom, and what they are good for."""

import pytest

from proxycache.policy.permissions import AccessRule
from proxycache.registry.settings import AuthSettings
from proxycache.web import request_body
from tests.integration.access.signing_in import (
    HUB,
    INNER,
    OPEN,
    PASSWORDS,
    PRIVATE,
    PUBLIC,
    TABLE,
    WANTED,
    ask_token,
    basic,
    challenge,
    post_form,
    pull,
    push,
    token,
    write_users,
)
from tests.integration.pushing import push_blob
from tests.integration.uploading import raw_request


@pytest.mark.parametrize(("method", "path"), TABLE)
async def test_a_token_gives_the_same_as_the_password_it_was_given_for(cache, method, path):
    name = path.removeprefix("/v2/").partition("/manifests")[0].partition("/blobs")[0].partition("/tags")[0]
    scopes = (f"repository:{name.partition('/referrers')[0]}:pull,push,delete", "registry:catalog:*")

    got = [(await cache.ask(method, path, await token(cache, *scopes, user=user))).status for user in PASSWORDS]

    assert tuple(got) == TABLE[method, path][1:]


async def test_private_content_needs_a_token_that_was_asked_for_it(cache):
    got = await cache.get(f"/v2/{PRIVATE}/manifests/1", await token(cache, "repository:local/app:pull", user="ann"))

    assert (got.status, challenge(got)["error"]) == (401, "insufficient_scope")


async def test_a_token_is_for_what_it_was_asked_for(cache):
    mine = await token(cache, "repository:local/app:pull", user="ann")

    pulled, pushed, other = [
        await cache.ask(*request, mine) for request in (pull("local/app"), push("local/app"), pull("local/b"))
    ]

    assert (pulled.status, pushed.status, other.status) == (404, 401, 401)
    assert challenge(pushed)["error"] == challenge(other)["error"] == "insufficient_scope"
    assert challenge(pushed)["scope"] == "repository:local/app:pull,push"


async def test_a_token_for_nobody_in_particular_does_not_push(cache):
    pushed = await cache.ask(*push("local/app"), await token(cache, "repository:local/app:pull,push"))

    assert (pushed.status, challenge(pushed)["error"]) == (401, "insufficient_scope")


async def test_what_anybody_may_have_needs_no_scope(cache):
    assert (await cache.get(f"/v2/{PUBLIC}/manifests/1", await token(cache))).status == 200


@pytest.mark.parametrize("query", ["?ns=docker.io", ""])
@pytest.mark.parametrize("path", [INNER, "inner", f"docker.io/{INNER}"])
async def test_a_scope_names_a_repository_as_its_path_does(cache, query, path):
    mine = await token(cache, f"repository:{path}:pull", user="cat")

    assert (await cache.get(f"/v2/{path}/manifests/1{query}", mine)).status == 200


async def test_a_scope_that_only_ns_makes_clear_is_granted(start, other_upstream, auth):
    other_upstream.add_image("org/app", OPEN, tag="1")
    rules = (AccessRule(who="cat", repositories=("ghcr.io/org/*",)),)
    cache = await start(auth=AuthSettings(users_file=auth.users_file, access=rules))
    mine = await token(cache, "repository:org/app:pull", user="cat")

    got = [await cache.get(f"/v2/org/app/manifests/1{query}", mine) for query in ("?ns=ghcr.io", "")]

    assert [each.status for each in got] == [200, 403]


async def test_more_than_is_allowed_is_not_granted(cache):
    got = await token(cache, "repository:local/shared:pull,push", "repository:local/app:*", user="bob")

    assert [(await cache.ask(*request, got)).status for request in (pull("local/shared"), push("local/shared"))] == [
        404,
        403,
    ]


@pytest.mark.parametrize("scopes", [("repository:{a}:pull", "repository:{b}:pull,push"),
                                    ("repository:{a}:pull%20repository:{b}:push",)])  # fmt: skip
async def test_a_token_may_be_for_several_repositories(cache, scopes):
    scopes = [scope.format(a="local/a", b="local/b") for scope in scopes]

    mine = await token(cache, *scopes, user="ann")

    assert [(await cache.ask(*request, mine)).status for request in (pull("local/a"), push("local/b"))] == [404, 202]


async def test_a_token_ends(cache, clock):
    mine = await token(cache, "repository:local/app:pull", user="ann")
    clock.advance(299)
    before = await cache.ask(*pull("local/app"), mine)
    clock.advance(1)
    after = await cache.ask(*pull("local/app"), mine)

    assert (before.status, after.status, challenge(after)["error"]) == (404, 401, "invalid_token")


async def test_a_token_of_one_worker_counts_at_the_other_and_after_a_restart(workers, start, auth):
    mine = await token(workers[0], "repository:local/app:pull", user="ann")
    await workers[0].stop()

    got = [await each.ask(*pull("local/app"), mine) for each in (workers[1], await start(**HUB, auth=auth))]

    assert [each.status for each in got] == [404, 404]


async def test_a_token_ends_with_its_user(cache, users_file):
    mine = await token(cache, "repository:local/app:pull", user="ann")
    write_users(users_file, {"bob": "b"})

    assert challenge(await cache.ask(*pull("local/app"), mine))["error"] == "invalid_token"


@pytest.mark.parametrize("form", ["grant_type=password&username=ann&password=ann%27s+own&service=x&client_id=c"])
async def test_a_token_comes_by_a_form_as_well(cache, form):
    body = f"{form}&scope=repository:local/app:pull".encode()

    got = await post_form(cache, body)

    assert (got.status, got.headers["Cache-Control"]) == (200, "no-store")
    assert got.json()["access_token"] == got.json()["token"]
    assert (got.json()["expires_in"], got.json()["issued_at"]) == (300, "2023-11-14T22:13:20+00:00")
    headers = {"Authorization": f"Bearer {got.json()['access_token']}"}
    assert (await cache.ask(*pull("local/app"), headers)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"grant_type=password&username=ann&password=wrong",
        b"grant_type=password&username=ann",
        b"grant_type=refresh_token&refresh_token=x",
        b"grant_type=password&username=ann&password=ann%27s+own&" + b"x" * 20_000,
        b"grant_type=password&username=%00&password=%ff%fe",
        b"&".join([b"a=b"] * 1000),
        b"\xff\xfe",
    ],
)
async def test_a_form_that_is_not_right_is_refused(cache, body):
    assert (await post_form(cache, body)).status == 401


async def test_a_form_that_never_comes_is_not_waited_for(cache, monkeypatch):
    monkeypatch.setattr(request_body, "STALL_SECONDS", 0.2)

    head = ("Expect: 100-continue", "Content-Length: 100")
    async with raw_request(cache, "POST", "/-/token", *head) as (reader, writer):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"grant_type=password")
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()

    assert answer.startswith("HTTP/1.1 408 ")


async def test_a_strangers_credentials_for_another_registry_get_what_anybody_gets(cache):
    got = [await ask_token(cache, f"repository:{PUBLIC}:pull", user="hubber", password="x") for _ in range(15)]

    assert {each.status for each in got} == {200}
    headers = {"Authorization": f"Bearer {got[0].json()['token']}"}
    assert (await cache.get(f"/v2/{PUBLIC}/manifests/1", headers)).status == 200
    assert (await cache.ask(*push("local/app"), headers)).status == 401


@pytest.mark.parametrize(
    "scope", ["repository:local/app:pull,push", "repository:local/open/app:pull,push", f"repository:{INNER}:pull"]
)
async def test_a_stranger_gets_no_token_for_what_is_not_for_anybody(cache, scope):
    assert (await ask_token(cache, scope, user="hubber", password="x")).status == 401


async def test_the_catalog_needs_a_token_that_was_asked_for_it(cache):
    got = [await cache.get("/v2/_catalog", headers) for headers in (None, await token(cache, user="ann"))]

    assert [each.status for each in got] == [401, 401]
    assert {challenge(each)["scope"] for each in got} == {"registry:catalog:*"}


@pytest.mark.parametrize(
    ("settings", "headers", "realm"),
    [
        ({}, {"Host": "cache.example:5000"}, "http://cache.example:5000/-/token"),
        ({}, {"Host": 'x"y', "X-Forwarded-Host": "evil.example"}, "{url}/-/token"),
        ({}, {"X-Forwarded-Proto": "https"}, "{url}/-/token"),
        ({"trusted_proxies": ("127.0.0.1",)}, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "c.example"},
         "https://c.example/-/token"),
        ({"public_url": "https://cache.example/"}, {"Host": "other"}, "https://cache.example/-/token"),
    ],
)  # fmt: skip
async def test_the_realm_is_how_this_client_reaches_us(start, auth, settings, headers, realm):
    cache = await start(auth=auth, **settings)

    got = challenge(await cache.get("/v2/", headers))

    assert got["realm"] == realm.format(url=cache.url)
    assert got["service"] == got["realm"].split("/")[2]


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        (("repository:local/a:pull,push",), 202),
        (("repository:local/a:pull,push", "repository:local/b:push"), 202),
        (("repository:local/a:pull,push", "repository:local/b:pull"), 201),
    ],
)
@pytest.mark.parametrize("source", ["&from=local/b", ""])
async def test_a_mount_needs_a_token_for_its_source_as_well(cache, scopes, source, status):
    await push_blob(cache, WANTED, "local/b", basic("ann"))

    mine = await token(cache, *scopes, user="ann")
    got = await cache.ask("POST", f"/v2/local/a/blobs/uploads/?mount={WANTED.digest}{source}", mine)

    assert got.status == status
