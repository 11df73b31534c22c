"""Who may do what, by rules; and what gives nothing away."""

import pytest

from proxycache.policy.permissions import AccessRule
from proxycache.registry.settings import AuthSettings
from tests.integration.access.signing_in import (
    EVERYTHING,
    HUB,
    INNER,
    PASSWORDS,
    PRIVATE,
    PUBLIC,
    RULES,
    TABLE,
    WANTED,
    basic,
    pull,
    push,
    token,
)
from tests.integration.pushing import push_blob
from tests.integration.test_disk_trouble import break_database


@pytest.mark.parametrize(("method", "path"), TABLE)
async def test_each_gets_what_the_rules_allow(cache, method, path):
    who = [None, *map(basic, PASSWORDS)]

    got = [(await cache.ask(method, path, headers)).status for headers in who]

    assert tuple(got) == TABLE[method, path]


async def test_who_may_not_is_told_so_and_not_asked_to_sign_in_again(cache, caplog):
    got = await cache.ask(*push("local/app"), basic("bob"))

    assert (got.status, got.code, "WWW-Authenticate" in got.headers) == (403, "DENIED", False)
    [record] = [record for record in caplog.records if record.message == "not allowed"]
    assert (record.user, record.repository, record.action) == ("bob", "local/app", "push")


async def test_what_is_private_looks_like_what_is_not_there_whoever_asks(cache, auth):
    both = (*RULES, AccessRule(who="anonymous", repositories=("docker.io/**",)))
    cache.reload(auth=AuthSettings(users_file=auth.users_file, access=(*both, AccessRule(who="ann"))))

    for headers in (None, basic("bob"), await token(cache, f"repository:{PRIVATE}:pull")):
        private = await cache.get(f"/v2/{PRIVATE}/manifests/1", headers)
        missing = await cache.get("/v2/library/missing/manifests/1", headers)
        assert private.status == missing.status == (401 if headers is None else 404)
        assert private.body == missing.body.replace(b"library/missing", PRIVATE.encode())


async def test_who_is_on_this_machine_needs_a_rule_as_well(cache):
    assert (await cache.get(f"/v2/{PRIVATE}/manifests/1", basic("cat"))).status == 404


@pytest.mark.parametrize(("name", "status"), [(PUBLIC, 200), (INNER, 401)])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}])
async def test_what_anybody_may_have_is_remembered_and_nothing_else(cache, name, status, headers):
    for _ in range(4):
        assert (await cache.get(f"/v2/{name}/manifests/1", basic("ann"))).status == 200

    assert (await cache.get(f"/v2/{name}/manifests/1", headers)).status == status


async def test_rules_count_from_a_reload_on_for_what_is_remembered_as_well(cache, auth):
    for _ in range(2):
        assert (await cache.get(f"/v2/{PUBLIC}/manifests/1")).status == 200

    cache.reload(auth=AuthSettings(users_file=auth.users_file, access=RULES[1:]))
    after = [await cache.get(f"/v2/{PUBLIC}/manifests/1", headers) for headers in (None, basic("ann"))]

    assert [each.status for each in after] == [403, 403]


async def test_without_rules_whoever_signed_in_may_do_everything(start, users_file):
    cache = await start(**HUB, auth=AuthSettings(users_file=str(users_file)))

    for request, status in ((push("local/app"), 202), (pull(PRIVATE), 200), (pull(PUBLIC), 200)):
        assert [(await cache.ask(*request, each)).status for each in (None, basic("bob"))] == [401, status]


async def test_without_users_nobody_is_asked_to_sign_in(start):
    cache = await start(auth=AuthSettings(access=(AccessRule(who="anonymous", repositories=("local/**",)),)))

    got = [await cache.ask(*each) for each in (("GET", "/v2/"), pull("local/a"), push("local/a"), pull(PUBLIC))]

    assert [each.status for each in got] == [200, 404, 403, 403]


async def test_the_catalog_shows_what_each_may_pull(cache):
    for name in (PUBLIC, INNER, PRIVATE):
        await cache.get(f"/v2/{name}/manifests/1", basic("ann"))

    ann, bob = [
        (await cache.get("/v2/_catalog", headers)).json()["repositories"]
        for headers in (basic("ann"), await token(cache, "registry:catalog:*", user="bob"))
    ]
    nobody = await cache.get("/v2/_catalog", await token(cache, "registry:catalog:*"))

    assert ann == [f"docker.io/{name}" for name in (INNER, PRIVATE, PUBLIC)]
    assert bob == [f"docker.io/{name}" for name in (INNER, PUBLIC)]
    assert nobody.json()["repositories"] == [f"docker.io/{PUBLIC}"]


@pytest.mark.parametrize(
    ("trusted", "headers", "status"),
    [
        ((), {}, 202),
        ((), {"X-Forwarded-For": "127.0.0.1"}, 403),
        (("127.0.0.1",), {}, 403),
        (("127.0.0.0/8",), {"X-Forwarded-For": "127.0.0.1"}, 202),
        (("127.0.0.1/32",), {"X-Forwarded-For": "192.0.2.7"}, 403),
        (("127.0.0.1",), {"X-Forwarded-For": "127.0.0.1, 192.0.2.7"}, 403),
        (("127.0.0.1",), {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=192.0.2.7"}, 403),
        (("127.0.0.1",), {"Forwarded": 'for="[::1]:99";proto=https'}, 202),
        (("192.0.2.0/24",), {"X-Forwarded-For": "127.0.0.1"}, 403),
    ],
)  # fmt: skip
async def test_a_trusted_proxy_says_who_is_on_this_machine(start, trusted, headers, status):
    cache = await start(trusted_proxies=trusted)

    assert (await cache.ask(*push("local/app"), headers)).status == status


async def test_what_is_local_is_given_through_no_repository_that_others_may_read(cache):
    await push_blob(cache, WANTED, "local/b", basic("ann"))

    paths = [
        f"/v2/{name}/blobs/{WANTED.digest}" for name in ("local/b", "local/shared", "local/open/app", PUBLIC, INNER)
    ]
    got = {path: (await cache.get(path, basic("bob"))).status for path in paths}

    assert (await cache.get(paths[0], basic("ann"))).body == WANTED.body
    assert list(got.values()) == [403, 404, 404, 404, 404]


async def test_trouble_in_the_database_opens_nothing(start, users_file):
    rules = (
        AccessRule(who="ann", repositories=("local/**",), actions=EVERYTHING),
        AccessRule(who="bob", repositories=("local/shared", f"docker.io/{PUBLIC}")),
    )
    cache = await start(auth=AuthSettings(users_file=str(users_file), access=rules))
    await push_blob(cache, WANTED, "local/b", basic("ann"))
    break_database(cache.parts.layout)

    got = [
        (await cache.get(f"/v2/{name}/blobs/{WANTED.digest}", basic("bob"))).status
        for name in ("local/b", "local/shared", PUBLIC)
    ]

    assert got[0] == 403
    assert 200 not in got
