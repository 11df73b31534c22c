"""Who may do what, by rules: without a credential, by password, by token; and what gives nothing away."""

import base64
import logging
from collections.abc import Mapping
from pathlib import Path

import bcrypt
import pytest

from proxycache.observe.logs import TextFormatter
from proxycache.oci.challenge import parse_challenges
from proxycache.oci.digest import digest_of
from proxycache.policy.permissions import AccessRule, Action
from proxycache.registry.settings import AuthSettings
from proxycache.upstream.settings import Secret
from proxycache.web import request_body
from tests.builders import image
from tests.fakes.auth import TokenAuth
from tests.integration.harness import ELSEWHERE, Answer, Cache
from tests.integration.test_disk_trouble import break_database
from tests.integration.uploading import raw_request

PASSWORDS = {"ann": "ann's own", "bob": "b:o:b", "cat": "Katze ÄÖÜ"}
PUBLIC, INNER, PRIVATE = "library/public", "library/inner", "library/private"
OPEN, SECRET = image(seed="open"), image(seed="secret")
HUB = {"username": "hub", "password": Secret("hub's secret")}
EVERYTHING = (Action.PULL, Action.PUSH, Action.DELETE)
RULES = (
    AccessRule(who="anonymous", repositories=(f"docker.io/{PUBLIC}", f"docker.io/{PRIVATE}", "local/open/*")),
    AccessRule(who="*", repositories=("docker.io/library/inner",)),
    AccessRule(who="ann", repositories=("local/**", f"docker.io/{PRIVATE}"), actions=EVERYTHING),
    AccessRule(who="bob", repositories=("local/shared",)),
)


@pytest.fixture(autouse=True)
def content(upstream) -> None:
    upstream.auth = TokenAuth(username="hub", password="hub's secret", private={PRIVATE})
    for name, held in ((PUBLIC, OPEN), (INNER, OPEN), (PRIVATE, SECRET)):
        upstream.add_image(name, held, tag="1")


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    write_users(path, PASSWORDS)
    return path


def write_users(path: Path, passwords: Mapping[str, str]) -> None:
    hashes = {name: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)) for name, password in passwords.items()}
    path.write_text("".join(f"{name}:{hashed.decode()}\n" for name, hashed in hashes.items()))


@pytest.fixture
def auth(users_file: Path) -> AuthSettings:
    return AuthSettings(users_file=str(users_file), access=RULES)


@pytest.fixture
async def cache(start, auth) -> Cache:
    return await start(**HUB, auth=auth)


@pytest.fixture
async def workers(start, auth) -> tuple[Cache, Cache]:
    return await start(**HUB, auth=auth), await start(**HUB, auth=auth)


def basic(user: str, password: str | None = None) -> dict[str, str]:
    text = f"{user}:{PASSWORDS[user] if password is None else password}"
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


async def ask_token(cache: Cache, *scopes: str, user: str = "", password: str | None = None, **more: str) -> Answer:
    query = "&".join([f"scope={scope}" for scope in scopes] + [f"{key}={value}" for key, value in more.items()])
    return await cache.get(f"/-/token?service=x&{query}", basic(user, password) if user else None)


async def token(cache: Cache, *scopes: str, user: str = "") -> dict[str, str]:
    got = await ask_token(cache, *scopes, user=user)
    assert got.status == 200
    return {"Authorization": f"Bearer {got.json()['token']}"}


def challenge(answer: Answer) -> Mapping[str, str]:
    [found] = parse_challenges(answer.headers.getall("WWW-Authenticate"))
    assert found.scheme == "bearer"
    return found.parameters


def pull(name: str) -> tuple[str, str]:
    return "GET", f"/v2/{name}/manifests/1"


def push(name: str) -> tuple[str, str]:
    return "POST", f"/v2/{name}/blobs/uploads/"


def delete(name: str) -> tuple[str, str]:
    return "DELETE", f"/v2/{name}/manifests/1"


# What anybody, ann, bob and cat get; 404 is for who may look.
TABLE = {
    pull(PUBLIC): (200, 200, 200, 200),
    pull(INNER): (401, 200, 200, 200),
    pull(PRIVATE): (401, 200, 404, 404),
    pull("library/missing"): (403, 403, 403, 403),
    pull("ghcr.io/org/app"): (403, 403, 403, 403),
    pull("local/app"): (401, 404, 403, 403),
    pull("local/shared"): (401, 404, 404, 403),
    pull("local/open/app"): (404, 404, 404, 404),
    push("local/app"): (401, 202, 403, 403),
    push("local/open/app"): (401, 202, 403, 403),
    push("local/shared"): (401, 202, 403, 403),
    push("library/inner"): (405, 405, 405, 405),
    delete("local/app"): (401, 404, 403, 403),
    delete("local/shared"): (401, 404, 403, 403),
    ("GET", "/v2/"): (401, 200, 200, 200),
    ("GET", "/v2/_catalog"): (401, 200, 200, 200),
    ("GET", f"/v2/{INNER}/tags/list"): (401, 200, 200, 200),
    ("GET", f"/v2/local/app/referrers/{OPEN.digest}"): (401, 200, 403, 403),
    ("GET", "/-/health"): (200, 200, 200, 200),
    ("GET", "/-/ready"): (200, 200, 200, 200),
}


@pytest.mark.parametrize(("method", "path"), TABLE)
async def test_each_gets_what_the_rules_allow(cache, method, path):
    who = [None, *map(basic, PASSWORDS)]

    got = [(await cache.ask(method, path, headers)).status for headers in who]

    assert tuple(got) == TABLE[method, path]


@pytest.mark.parametrize(("method", "path"), TABLE)
async def test_a_token_gives_the_same_as_the_password_it_was_given_for(cache, method, path):
    name = path.removeprefix("/v2/").partition("/manifests")[0].partition("/blobs")[0].partition("/tags")[0]
    scopes = (f"repository:{name.partition('/referrers')[0]}:pull,push,delete", "registry:catalog:*")

    got = [(await cache.ask(method, path, await token(cache, *scopes, user=user))).status for user in PASSWORDS]

    assert tuple(got) == TABLE[method, path][1:]


async def test_who_says_nothing_is_told_how_to_sign_in(cache):
    base, named = await cache.get("/v2/"), await cache.get(f"/v2/{INNER}/manifests/1")
    pushed = await cache.ask(*push("local/app"))

    service = cache.url.removeprefix("http://")
    assert challenge(base) == {"realm": f"{cache.url}/-/token", "service": service}
    assert challenge(named) == {**challenge(base), "scope": f"repository:{INNER}:pull"}
    assert challenge(pushed)["scope"] == "repository:local/app:pull,push"
    assert named.code == "UNAUTHORIZED"


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


async def test_private_content_needs_a_token_that_was_asked_for_it(cache):
    got = await cache.get(f"/v2/{PRIVATE}/manifests/1", await token(cache, "repository:local/app:pull", user="ann"))

    assert (got.status, challenge(got)["error"]) == (401, "insufficient_scope")


async def test_who_is_on_this_machine_needs_a_rule_as_well(cache):
    assert (await cache.get(f"/v2/{PRIVATE}/manifests/1", basic("cat"))).status == 404


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


async def test_a_password_that_was_changed_counts_no_more_at_once(cache, users_file):
    assert (await cache.get("/v2/", basic("ann"))).status == 200
    write_users(users_file, {**PASSWORDS, "ann": "new"})

    assert [(await cache.get("/v2/", basic("ann", word))).status for word in ("ann's own", "new")] == [401, 200]


async def test_a_file_of_users_that_breaks_counts_as_it_was(cache, users_file, caplog):
    assert (await cache.get("/v2/", basic("ann"))).status == 200
    users_file.write_text("ann:plain-text-secret\n")

    got = [await cache.get("/v2/", basic("ann")) for _ in range(2)]

    assert [each.status for each in got] == [200, 200]
    assert [record.message for record in caplog.records] == ["users refused"]
    assert "plain-text-secret" not in written(caplog)


async def test_users_that_could_never_be_read_are_no_refusal(cache, users_file):
    users_file.unlink()

    assert (await cache.get("/v2/", basic("ann"))).status == 503
    assert (await cache.get(f"/v2/{PUBLIC}/manifests/1")).status == 200


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


async def post_form(cache: Cache, body: bytes) -> Answer:
    url, headers = f"{cache.url}/-/token", {"Content-Type": "application/x-www-form-urlencoded"}
    async with cache._session.post(url, data=body, headers=headers) as response:
        return Answer(status=response.status, headers=response.headers, body=await response.read(), is_complete=True)


async def test_a_form_that_never_comes_is_not_waited_for(cache, monkeypatch):
    monkeypatch.setattr(request_body, "STALL_SECONDS", 0.2)

    head = ("Expect: 100-continue", "Content-Length: 100")
    async with raw_request(cache, "POST", "/-/token", *head) as (reader, writer):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"grant_type=password")
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()

    assert answer.startswith("HTTP/1.1 408 ")


async def test_a_login_is_right_or_wrong(cache):
    right = await ask_token(cache, user="ann", account="ann", client_id="docker", offline_token="true")
    wrong = [await ask_token(cache, user=user, password="no") for user in ("ann", "nobody")]

    assert (right.status, [each.status for each in wrong]) == (200, [401, 401])
    headers = {"Authorization": f"Bearer {right.json()['token']}"}
    assert (await cache.get("/v2/", headers)).status == 200


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


@pytest.mark.parametrize("who", ["basic", "token", "form"])
async def test_who_fails_too_often_is_not_heard_for_a_while_by_any_worker(workers, clock, who):
    first, second = workers

    async def attempt(cache: Cache, password: str) -> Answer:
        if who == "form":
            return await post_form(cache, f"grant_type=password&username=ann&password={password}".encode())
        if who == "token":
            return await ask_token(cache, user="ann", password=password)
        return await cache.get("/v2/", basic("ann", password))

    assert (await second.get("/v2/", basic("ann"))).status == 200
    wrong = [await attempt((first, second)[number % 2], f"wrong{number}") for number in range(10)]
    blocked = [await attempt(each, PASSWORDS["ann"]) for each in workers]
    others = await first.get("/v2/", basic("bob"))
    clock.advance(60)
    later = await attempt(second, PASSWORDS["ann"])

    assert [each.status for each in wrong] == [401] * 10
    assert [(each.status, each.headers["Retry-After"]) for each in blocked] == [(429, "60")] * 2
    assert (others.status, later.status) == (200, 200)


async def test_the_count_survives_a_restart(workers, start, auth):
    for number in range(10):
        await workers[0].get("/v2/", basic("ann", f"wrong{number}"))
    await workers[0].stop()

    assert (await (await start(**HUB, auth=auth)).get("/v2/", basic("ann"))).status == 429


async def test_failures_count_for_one_address_only(start, auth):
    cache = await start(**HUB, auth=auth, trusted_proxies=("127.0.0.1",))
    for number in range(10):
        await cache.get("/v2/", basic("ann", f"wrong{number}") | ELSEWHERE)

    got = [await cache.get("/v2/", basic("ann") | {"X-Forwarded-For": each}) for each in ("192.0.2.7", "192.0.2.8")]

    assert [each.status for each in got] == [429, 200]


async def test_right_passwords_write_nothing(cache):
    await cache.get("/v2/", basic("ann", "wrong"))
    failures = cache.parts.layout.failures
    before = failures.read_bytes()

    for _ in range(3):
        assert (await cache.get("/v2/", basic("ann"))).status == 200

    assert failures.read_bytes() == before


@pytest.mark.parametrize(
    "header",
    [
        "", "Basic", "Basic ", "Basic %%%", "Basic YW5u", "Basic OnB3", "Basic //86/g==", "Basic YQBiOmMA",
        "bearer a b", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Bearer " + "x" * 7000, "Negotiate YII=",
        "Basic " + base64.b64encode(b"ann:" + b"x" * 5000).decode(),
    ],
)  # fmt: skip
async def test_a_header_that_makes_no_sense_is_refused(cache, header):
    got = [await cache.get(path, {"Authorization": header}) for path in ("/v2/", f"/v2/{PUBLIC}/manifests/1")]

    assert [each.status for each in got] == [401, 401]
    assert challenge(got[1])["scope"] == f"repository:{PUBLIC}:pull"


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


async def test_the_catalog_needs_a_token_that_was_asked_for_it(cache):
    got = [await cache.get("/v2/_catalog", headers) for headers in (None, await token(cache, user="ann"))]

    assert [each.status for each in got] == [401, 401]
    assert {challenge(each)["scope"] for each in got} == {"registry:catalog:*"}


async def test_without_users_and_rules_there_are_no_tokens(start):
    cache = await start()

    assert (await cache.get("/-/token", basic("ann"))).status == 404
    assert (await cache.get("/v2/", {"Authorization": "Bearer x"})).status == 200


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


def written(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(TextFormatter().format(record) for record in caplog.records)


async def test_no_secret_gets_into_a_log(cache, caplog):
    caplog.set_level(logging.DEBUG)
    mine = await token(cache, "repository:local/app:pull", user="ann")
    await cache.ask(*push("local/app"), basic("bob"))
    await cache.get("/v2/", basic("ann", "hunter2"))
    await cache.get("/v2/", basic("my-password", "x"))
    await cache.get("/v2/", {"Authorization": mine["Authorization"] + "x"})
    await post_form(cache, b"grant_type=password&username=ann&password=hunter2")

    await ask_token(cache, "repository:local/app:pull", user="my-password", password="hunter2")

    told = written(caplog)
    assert told.count("sign-in failed") == 4
    assert "no such user" in told
    assert "token refused" in told
    for secret in (*PASSWORDS.values(), "hunter2", "my-password", mine["Authorization"].split(".")[2], "$2b$"):
        assert secret not in told


async def push_blob(cache: Cache, name: str, body: bytes, headers: dict[str, str]) -> str:
    digest = str(digest_of(body))
    url = f"{cache.url}/v2/{name}/blobs/uploads/?digest={digest}"
    async with cache._session.post(url, data=body, headers=headers) as response:
        assert response.status == 201
    return digest


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
    digest = await push_blob(cache, "local/b", b"content", basic("ann"))

    mine = await token(cache, *scopes, user="ann")
    got = await cache.ask("POST", f"/v2/local/a/blobs/uploads/?mount={digest}{source}", mine)

    assert got.status == status


async def test_what_is_local_is_given_through_no_repository_that_others_may_read(cache):
    digest = await push_blob(cache, "local/b", b"content", basic("ann"))

    paths = [f"/v2/{name}/blobs/{digest}" for name in ("local/b", "local/shared", "local/open/app", PUBLIC, INNER)]
    got = {path: (await cache.get(path, basic("bob"))).status for path in paths}

    assert (await cache.get(paths[0], basic("ann"))).body == b"content"
    assert list(got.values()) == [403, 404, 404, 404, 404]


async def test_trouble_in_the_database_opens_nothing(start, users_file):
    rules = (
        AccessRule(who="ann", repositories=("local/**",), actions=EVERYTHING),
        AccessRule(who="bob", repositories=("local/shared", f"docker.io/{PUBLIC}")),
    )
    cache = await start(auth=AuthSettings(users_file=str(users_file), access=rules))
    digest = await push_blob(cache, "local/b", b"content", basic("ann"))
    break_database(cache.parts.layout)

    got = [
        (await cache.get(f"/v2/{name}/blobs/{digest}", basic("bob"))).status
        for name in ("local/b", "local/shared", PUBLIC)
    ]

    assert got[0] == 403
    assert 200 not in got
