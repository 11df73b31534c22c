"""Challenges are answered, and remembered for the repository that they were for."""

import pytest
from aiohttp import web

from proxycache.oci.names import Tag
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnauthorized
from proxycache.upstream.settings import Secret
from tests.builders import image
from tests.fakes.auth import BasicAuth, TokenAuth
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.unit.upstream.conftest import MakeClient
from tests.unit.upstream.servers import serving

TAG = Tag("1")
ANN = {"username": "ann", "password": Secret("secret")}


@pytest.fixture
def auth(registry: FakeRegistry) -> TokenAuth:
    registry.add_image("library/app", image(), tag=TAG)
    registry.auth = TokenAuth(username="ann", password="secret", private={"library/secret"})
    registry.add_image("library/secret", image(), tag=TAG)
    return registry.auth


def statuses(registry: FakeRegistry) -> list[tuple[str, str]]:
    return [(seen.method, seen.headers.get("Authorization", "")) for seen in registry.requests if "/v2/" in seen.path]


async def test_the_first_request_learns_and_later_ones_know(
    registry: FakeRegistry, client: UpstreamClient, auth: TokenAuth
) -> None:
    for _ in range(3):
        await client.head_manifest("library/app", TAG)

    assert statuses(registry) == [("HEAD", ""), *[("HEAD", "Bearer token-0")] * 3]
    assert len(auth.requests) == 1


@pytest.mark.parametrize("one_line", [True, False])
async def test_several_challenges(
    registry: FakeRegistry, client: UpstreamClient, auth: TokenAuth, one_line: bool
) -> None:
    auth.one_line, auth.extra_challenges = one_line, ('Basic realm="a, b=c"',)

    await client.head_manifest("library/app", TAG)

    assert auth.requests[0].query == {"scope": "repository:library/app:pull", "service": auth.service}


async def test_a_challenge_without_a_scope(client: UpstreamClient, auth: TokenAuth) -> None:
    auth.scope = ""

    await client.head_manifest("library/app", TAG)

    assert auth.requests[0].query["scope"] == "repository:library/app:pull"


async def test_a_challenge_that_is_at_the_root_only(
    registry: FakeRegistry, client: UpstreamClient, auth: TokenAuth
) -> None:
    """As gcr.io does it; the scope there is a placeholder."""
    registry.faults.add(answer(401), on="/manifests/")
    auth.scope = "repository:user/image:pull"

    await client.head_manifest("library/app", TAG)

    assert [seen.path for seen in registry.requests if seen.method == "GET"] == ["/v2/", "/token"]
    assert auth.requests[0].query["scope"] == "repository:library/app:pull"


async def test_a_token_that_has_ended_is_replaced_once(
    registry: FakeRegistry, client: UpstreamClient, auth: TokenAuth
) -> None:
    await client.head_manifest("library/app", TAG)
    auth.revoke_all()

    await client.head_manifest("library/app", TAG)

    assert statuses(registry)[2:] == [("HEAD", "Bearer token-0"), ("HEAD", "Bearer token-1")]


async def test_who_is_not_let_in_asks_twice_at_most(
    registry: FakeRegistry, client: UpstreamClient, auth: TokenAuth
) -> None:
    with pytest.raises(UpstreamUnauthorized) as failed:
        await client.head_manifest("library/secret", TAG)

    assert failed.value.status == 401
    assert len(statuses(registry)) == 2


async def test_a_credential_opens_what_is_private(make_client: MakeClient, auth: TokenAuth) -> None:
    assert (await make_client(**ANN).head_manifest("library/secret", TAG)).digest is not None


async def test_basic_auth(registry: FakeRegistry, make_client: MakeClient) -> None:
    registry.add_image("library/app", image(), tag=TAG)
    registry.auth = BasicAuth(username="ann", password="secret")
    client = make_client(**ANN)

    for _ in range(2):
        await client.head_manifest("library/app", TAG)

    assert statuses(registry) == [("HEAD", ""), *[("HEAD", "Basic YW5uOnNlY3JldA==")] * 2]


async def test_basic_auth_with_a_wrong_password_is_tried_once(registry: FakeRegistry, make_client: MakeClient) -> None:
    registry.auth = BasicAuth(username="ann", password="other")

    with pytest.raises(UpstreamUnauthorized):
        await make_client(**ANN).head_manifest("library/app", TAG)

    assert len(statuses(registry)) == 2


async def test_basic_auth_without_a_credential(registry: FakeRegistry, client: UpstreamClient) -> None:
    registry.auth = BasicAuth(username="ann", password="secret")

    with pytest.raises(UpstreamUnauthorized, match="authentication required"):
        await client.head_manifest("library/app", TAG)


async def test_a_refusal_that_asks_for_nothing_says_nothing_of_the_next_request(
    registry: FakeRegistry, client: UpstreamClient
) -> None:
    registry.add_image("library/app", image(), tag=TAG)
    registry.faults.add(answer(401))
    with pytest.raises(UpstreamUnauthorized):
        await client.head_manifest("library/app", TAG)

    assert (await client.head_manifest("library/app", TAG)).digest is not None


async def test_a_credential_is_not_sent_to_a_realm_in_our_network(
    registry: FakeRegistry, make_client: MakeClient, auth: TokenAuth
) -> None:
    asked = []

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request)
        return web.json_response({"token": "x"})

    async with serving(take) as other:
        auth.realm = other.replace("127.0.0.1", "127.0.0.2") + "/token"
        with pytest.raises(UpstreamMisbehaved, match="not a public address"):
            await make_client(**ANN).head_manifest("library/app", TAG)

    assert not asked
