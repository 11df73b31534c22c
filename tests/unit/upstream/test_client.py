"""The client as the jobs use it: publicity, and a clean start and end. Each question has its own test file."""

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.oci.names import RepositoryName, Tag
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamError, UpstreamUnauthorized, UpstreamUnreachable
from proxycache.upstream.settings import Secret
from tests.builders import image
from tests.fakes.auth import Auth, BasicAuth, TokenAuth
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.unit.upstream.conftest import MakeClient

TAG = Tag("1")


@pytest.fixture
def of_ann(make_client: MakeClient) -> UpstreamClient:
    return make_client(username="ann", password=Secret("secret"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"username": "ann", "password": Secret("x")}, True),
        ({"docker_config": "~/.docker/config.json"}, True),
        ({"credential_helper": "ecr-login"}, True),
    ],
)
async def test_whether_there_are_credentials(make_client: MakeClient, changes: dict, expected: bool) -> None:
    assert make_client(**changes).has_credentials is expected


@pytest.mark.parametrize("reference", [TAG, None])
@pytest.mark.parametrize(
    "auth",
    [
        TokenAuth(username="ann", password="secret", private={"library/secret"}),
        BasicAuth(username="ann", password="secret", public={"library/app"}),
    ],
)
async def test_public_is_what_anybody_can_read(
    registry: FakeRegistry, of_ann: UpstreamClient, auth: Auth, reference: Tag | None
) -> None:
    registry.auth = auth
    for repository in ("library/app", "library/secret"):
        registry.add_image(repository, image(), tag=TAG)
        await of_ann.head_manifest(repository, TAG)

    assert await of_ann.is_public("library/app", reference) is True
    assert await of_ann.is_public("library/secret", reference) is False


async def test_what_is_hidden_is_not_public(registry: FakeRegistry, of_ann: UpstreamClient) -> None:
    registry.faults.add(answer(404))

    assert await of_ann.is_public("library/app", TAG) is False


@pytest.mark.parametrize("status", [429, 503, 302])
async def test_publicity_that_could_not_be_told(registry: FakeRegistry, of_ann: UpstreamClient, status: int) -> None:
    registry.faults.add(answer(status))

    with pytest.raises(UpstreamError):
        await of_ann.is_public("library/app", TAG)


async def test_mirrors_say_nothing_of_publicity(
    registry: FakeRegistry, second_registry: FakeRegistry, make_client: MakeClient
) -> None:
    registry.add_image("library/app", image(), tag=TAG)

    assert await make_client(mirrors=(second_registry.url,)).is_public("library/app", TAG)
    assert second_registry.count() == 0


@pytest.mark.parametrize("what", ["blob", "manifest"])
async def test_what_everybody_is_told_only_the_upstream_itself_says(
    make_client: MakeClient, registry: FakeRegistry, second_registry: FakeRegistry, what: str
) -> None:
    """A mirror may give to us, without asking who we are, what is private upstream."""
    secret = image(layers=1)
    for each in (registry, second_registry):
        each.add_image("library/secret", secret)
    registry.auth = TokenAuth(username="ann", password="secret", private={"library/secret"})
    client = make_client(mirrors=(second_registry.url,), username="ann", password=Secret("secret"))
    name, digest = (
        RepositoryName("library/secret"),
        parse_digest((secret.layers[0] if what == "blob" else secret).digest),
    )
    head = client.head_blob if what == "blob" else client.head_manifest

    await head(name, digest)
    with pytest.raises(UpstreamUnauthorized):
        await head(name, digest, is_anonymous=True)


async def test_no_secret_is_in_what_is_said(registry: FakeRegistry, of_ann: UpstreamClient) -> None:
    registry.auth = TokenAuth(username="ann", password="other")

    with pytest.raises(UpstreamError) as failed:
        await of_ann.head_manifest("library/app", TAG)

    assert "secret" not in f"{failed.value} {failed.value!r} {of_ann.settings!r}"


async def test_closing_ends_what_runs(registry: FakeRegistry, client: UpstreamClient) -> None:
    digest = parse_digest(registry.add_blob("library/app", 5_000_000).digest)

    async with client.open_blob("library/app", digest) as blob:
        await client.close()
        with pytest.raises(UpstreamUnreachable):
            [piece async for piece in blob.pieces()]


async def test_a_retired_client_closes_when_its_last_transfer_has_ended(
    registry: FakeRegistry, client: UpstreamClient
) -> None:
    content = registry.add_blob("library/app", 5_000_000)

    async with client.open_blob("library/app", parse_digest(content.digest)) as blob:
        await client.retire()
        assert registry.connections == 1
        assert b"".join([piece async for piece in blob.pieces()]) == content.body

    await registry.wait_until_left()


async def test_who_still_has_a_retired_client_may_ask_again(registry: FakeRegistry, client: UpstreamClient) -> None:
    registry.add_image("library/app", image(), tag=TAG)
    await client.head_manifest("library/app", TAG)

    await client.retire()
    await registry.wait_until_left()
    await client.head_manifest("library/app", TAG)

    await registry.wait_until_left()
    assert registry.count() == 2


async def test_a_connection_is_used_again(registry: FakeRegistry, client: UpstreamClient) -> None:
    registry.add_image("library/app", image(), tag=TAG)

    for _ in range(3):
        await client.get_manifest("library/app", TAG, max_size=10_000)

    assert registry.count() == 3
