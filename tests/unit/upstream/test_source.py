"""A refused credential is read anew; what another host says is no word about it."""

from pathlib import Path

import pytest

from proxycache.events import Event, UpstreamAnswered
from proxycache.oci.digest import parse_digest
from proxycache.oci.names import Tag
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamUnauthorized, UpstreamUnreachable
from tests.builders import image
from tests.fakes.auth import BasicAuth, TokenAuth
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.fakes.vanishing import refused_port
from tests.unit.upstream.conftest import MakeClient

TAG = Tag("1")


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("old")
    return path


@pytest.fixture
def client_of_ann(make_client: MakeClient, password: Path) -> UpstreamClient:
    return make_client(username="ann", password_file=str(password))


@pytest.mark.parametrize("auth_class", [BasicAuth, TokenAuth])
async def test_a_password_that_was_changed(
    registry: FakeRegistry, client_of_ann: UpstreamClient, password: Path, auth_class: type[BasicAuth | TokenAuth]
) -> None:
    registry.add_image("library/app", image(), tag=TAG)
    registry.auth = auth_class(username="ann", password="old")
    await client_of_ann.head_manifest("library/app", TAG)

    registry.auth = auth_class(username="ann", password="new")
    password.write_text("new")

    await client_of_ann.head_manifest("library/app", TAG)


async def test_a_credential_that_has_ended_and_is_refused_with_403(
    registry: FakeRegistry, client_of_ann: UpstreamClient, password: Path
) -> None:
    """As ECR does it."""
    registry.add_image("library/app", image(), tag=TAG)
    registry.auth = auth = BasicAuth(username="ann", password="old")
    await client_of_ann.head_manifest("library/app", TAG)

    registry.faults.add(answer(403, b"Your Authorization Token has expired."))
    auth.password = "new"
    password.write_text("new")

    await client_of_ann.head_manifest("library/app", TAG)


async def test_a_refusal_that_stays(registry: FakeRegistry, client_of_ann: UpstreamClient) -> None:
    registry.faults.add(answer(403), times=None)

    with pytest.raises(UpstreamUnauthorized) as failed:
        await client_of_ann.head_manifest("library/app", TAG)

    assert failed.value.status == 403
    assert registry.count() == 1


async def test_a_signed_url_that_is_refused_is_no_refusal_of_the_credential(
    registry: FakeRegistry, client_of_ann: UpstreamClient, password: Path
) -> None:
    registry.redirects.add("blobs")
    digest = parse_digest(registry.add_blob("library/app", 10).digest)
    registry.cdn.faults.add(answer(403), times=None)
    password.write_text("new")

    with pytest.raises(UpstreamUnauthorized):
        async with client_of_ann.open_blob("library/app", digest):
            pytest.fail("opened")

    assert registry.count() == 1


async def test_a_challenge_of_another_host_is_not_answered(
    registry: FakeRegistry, client_of_ann: UpstreamClient
) -> None:
    registry.redirects.add("blobs")
    digest = parse_digest(registry.add_blob("library/app", 10).digest)
    registry.cdn.faults.add(answer(401, WWW_Authenticate=f'Bearer realm="{registry.cdn.url}/token"'), times=None)

    with pytest.raises(UpstreamUnauthorized):
        async with client_of_ann.open_blob("library/app", digest):
            pytest.fail("opened")

    assert [seen.path.split("/")[1] for seen in registry.cdn.requests] == ["content"]


async def test_every_answer_is_an_event(registry: FakeRegistry, client: UpstreamClient, seen: list[Event]) -> None:
    registry.auth = TokenAuth()
    registry.add_image("library/app", image(), tag=TAG)

    await client.head_manifest("library/app", TAG)

    answers = [event for event in seen if isinstance(event, UpstreamAnswered)]
    assert [(event.kind, event.method, event.status) for event in answers] == [
        ("manifest", "HEAD", 401),
        ("manifest", "HEAD", 200),
    ]


async def test_no_answer_is_an_event_too(make_client: MakeClient, seen: list[Event]) -> None:
    with refused_port() as port, pytest.raises(UpstreamUnreachable):
        await make_client(url=f"http://127.0.0.1:{port}").list_tags("library/app", n=None, last=None)

    assert seen == [UpstreamAnswered(upstream="fake.example", kind="tags", method="GET", status=0, seconds=0.0)]
