"""Tokens are asked for once, used as long as they are good, and asked for at the right place only."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from yarl import URL

from proxycache.events import Event, Events, TokenRequested
from proxycache.upstream.credentials import Credential
from proxycache.upstream.errors import (
    UpstreamError,
    UpstreamMisbehaved,
    UpstreamRateLimited,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from proxycache.upstream.settings import Secret, UpstreamSettings
from proxycache.upstream.tokens import Tokens, WantedToken, lifetime_seconds
from proxycache.upstream.transport import TokenTransport
from tests.fakes.clock import FakeClock
from tests.unit.upstream.servers import serving

ANN = Credential(username="ann", password=Secret("secret"))
REFRESHING = Credential(username="ann", identity_token=Secret("refresh-secret"))


class Realm:
    """A token endpoint that gives numbered tokens; `answers` are given first."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, list[tuple[str, str]], str | None]] = []
        self.answers: list[web.Response] = []
        self.token: dict[str, object] = {"expires_in": 300}
        self.url = ""

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        sent = request.query if request.method == "GET" else await request.post()
        self.requests.append((request.method, list(sent.items()), request.headers.get("Authorization")))
        if self.answers:
            return self.answers.pop(0)
        return web.json_response({"token": f"t{len(self.requests)}", **self.token})


@pytest.fixture
async def realm() -> AsyncIterator[Realm]:
    realm = Realm()
    async with serving(realm.serve) as realm.url:
        yield realm


@pytest.fixture
async def tokens(realm: Realm, events: Events, clock: FakeClock) -> AsyncIterator[Tokens]:
    async for tokens in open_tokens(realm.url, events, clock):
        yield tokens


async def open_tokens(url: str, events: Events, clock: FakeClock, **changes: object) -> AsyncIterator[Tokens]:
    settings = UpstreamSettings(**{"name": "fake.example", "url": url, **changes})
    tokens = Tokens(settings, TokenTransport(URL(url), settings, tls=True, via="x"), events=events, clock=clock)
    yield tokens
    await tokens.close()


def want(realm: str, scope: str = "repository:app:pull", credential: Credential | None = None) -> WantedToken:
    return WantedToken(realm=f"{realm}/token?a=b", service="the, service=", scope=scope, credential=credential)


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(300, 290.0), (60, 54.0), (None, 54.0), (0, 54.0), (-1, 54.0), (1.0, 0.9), (1e12, 3590.0)],
)
def test_a_token_is_used_shorter_than_it_lives(expires_in: float | None, seconds: float) -> None:
    assert lifetime_seconds(expires_in) == pytest.approx(seconds)


async def test_what_a_token_is_asked_for_with(realm: Realm, tokens: Tokens, seen: list[Event]) -> None:
    assert (await tokens.get(want(realm.url, "repository:app:pull repository:b:pull"))).reveal() == "Bearer t1"
    assert (await tokens.get(want(realm.url, credential=ANN))).reveal() == "Bearer t2"

    scopes = [("scope", "repository:app:pull"), ("scope", "repository:b:pull")]
    assert realm.requests == [
        ("GET", [("a", "b"), *scopes, ("service", "the, service=")], None),
        ("GET", [("a", "b"), scopes[0], ("service", "the, service=")], "Basic YW5uOnNlY3JldA=="),
    ]
    assert seen == [TokenRequested(upstream="fake.example", outcome="granted")] * 2


async def test_all_who_wait_share_one_request(realm: Realm, tokens: Tokens) -> None:
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(tokens.get(want(realm.url))) for _ in range(20)]

    assert {task.result().reveal() for task in asking} == {"Bearer t1"}


async def test_one_who_leaves_does_not_end_the_request(realm: Realm, tokens: Tokens) -> None:
    leaving = asyncio.create_task(tokens.get(want(realm.url)))  # noqa: TID251 - the test is about a task that is cancelled
    staying = asyncio.create_task(tokens.get(want(realm.url)))  # noqa: TID251 - as above
    await asyncio.sleep(0)
    leaving.cancel()

    assert (await staying).reveal() == "Bearer t1"


async def test_a_token_is_good_for_its_scope_and_credential_only(realm: Realm, tokens: Tokens) -> None:
    wanted = [want(realm.url), want(realm.url, "repository:b:pull"), want(realm.url, credential=ANN)]

    for _ in range(2):
        assert [(await tokens.get(each)).reveal() for each in wanted] == ["Bearer t1", "Bearer t2", "Bearer t3"]


async def test_a_token_is_replaced_before_it_expires(realm: Realm, tokens: Tokens, clock: FakeClock) -> None:
    await tokens.get(want(realm.url))
    clock.advance(289)
    assert (await tokens.get(want(realm.url))).reveal() == "Bearer t1"

    clock.advance(2)

    assert (await tokens.get(want(realm.url))).reveal() == "Bearer t2"


async def test_a_refused_token_is_forgotten(realm: Realm, tokens: Tokens) -> None:
    tokens.drop(await tokens.get(want(realm.url)))

    assert (await tokens.get(want(realm.url))).reveal() == "Bearer t2"


async def test_a_token_by_its_other_name(realm: Realm, tokens: Tokens) -> None:
    realm.answers.append(web.json_response({"access_token": "other"}))

    assert (await tokens.get(want(realm.url))).reveal() == "Bearer other"


async def test_an_identity_token_is_posted(realm: Realm, tokens: Tokens) -> None:
    await tokens.get(want(realm.url, credential=REFRESHING))

    ((method, form, authorization),) = realm.requests
    assert (method, authorization) == ("POST", None)
    assert dict(form) == {
        "grant_type": "refresh_token",
        "client_id": "proxycache",
        "service": "the, service=",
        "scope": "repository:app:pull",
        "refresh_token": "refresh-secret",
    }


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_a_realm_that_knows_no_post(realm: Realm, tokens: Tokens, status: int) -> None:
    realm.answers.append(web.Response(status=status))

    assert (await tokens.get(want(realm.url, credential=REFRESHING))).reveal() == "Bearer t2"
    assert [request[0] for request in realm.requests] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        ({"status": 401}, UpstreamUnauthorized),
        ({"status": 403}, UpstreamUnauthorized),
        ({"status": 429, "headers": {"Retry-After": "7"}}, UpstreamRateLimited),
        ({"status": 503}, UpstreamUnreachable),
        ({"status": 404}, UpstreamMisbehaved),
        ({"body": b"<html>"}, UpstreamMisbehaved),
        ({"body": b"{}"}, UpstreamMisbehaved),
        ({"body": b'{"token": "a\\r\\nb"}'}, UpstreamMisbehaved),
        ({"body": b'{"token": "' + b"x" * 70_000 + b'"}'}, UpstreamMisbehaved),
    ],
)
async def test_no_token(
    realm: Realm, tokens: Tokens, seen: list[Event], answer: dict, error_class: type[UpstreamError]
) -> None:
    realm.answers.append(web.Response(**answer))

    with pytest.raises(error_class):
        await tokens.get(want(realm.url))

    outcome = "refused" if error_class is UpstreamUnauthorized else "failed"
    assert seen == [TokenRequested(upstream="fake.example", outcome=outcome)]
    assert (await tokens.get(want(realm.url))).reveal() == "Bearer t2"


@pytest.mark.parametrize("realm_url", ["", "token", "file:///etc/passwd", "ftp://auth.example/token", "http://[::1"])
async def test_a_realm_that_is_no_place(tokens: Tokens, realm_url: str) -> None:
    wanted = WantedToken(realm=realm_url, service="", scope="", credential=ANN)

    with pytest.raises(UpstreamMisbehaved, match="realm"):
        await tokens.get(wanted)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"])
async def test_a_realm_inside_our_network(realm: Realm, tokens: Tokens, host: str) -> None:
    with pytest.raises(UpstreamMisbehaved, match="not a public address"):
        await tokens.get(want(f"http://{host}:{URL(realm.url).port}", credential=ANN))

    assert realm.requests == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_realm_inside_our_network_that_is_named(
    realm: Realm, events: Events, clock: FakeClock, host: str
) -> None:
    wanted = want(str(URL(realm.url).with_host(host)), credential=ANN)

    async for tokens in open_tokens("http://127.0.0.2", events, clock, token_realm=host):
        assert (await tokens.get(wanted)).reveal() == "Bearer t1"


async def test_a_realm_without_tls_of_an_upstream_with_tls(realm: Realm, events: Events, clock: FakeClock) -> None:
    async for tokens in open_tokens("https://127.0.0.1", events, clock):
        with pytest.raises(UpstreamMisbehaved, match="without TLS"):
            await tokens.get(want(realm.url, credential=ANN))
    async for tokens in open_tokens("https://127.0.0.1", events, clock, insecure=True):
        assert (await tokens.get(want(realm.url))).reveal() == "Bearer t1"


async def test_a_realm_that_leads_elsewhere_gets_no_credential_there(realm: Realm, tokens: Tokens) -> None:
    async def lead_on(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": f"{realm.url}/token"})

    async with serving(lead_on) as other:
        await tokens.get(want(other, credential=ANN))

    assert realm.requests[0][2] is None


async def test_a_realm_that_does_not_answer(events: Events, clock: FakeClock) -> None:
    async def say_nothing(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(say_nothing) as url:
        async for tokens in open_tokens(url, events, clock, answer_within=0.1):
            with pytest.raises(UpstreamUnreachable) as failed:
                await tokens.get(want(url))

    assert failed.value.timed_out
