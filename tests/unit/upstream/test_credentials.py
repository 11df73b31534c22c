"""A credential is read when needed, kept for a while, and read again when refused."""

import asyncio
import base64

import pytest

from proxycache.upstream.credentials import KEEP_SECONDS, RENEW_PAUSE_SECONDS, Credential, Credentials
from proxycache.upstream.errors import UpstreamUnreachable
from proxycache.upstream.settings import Secret
from tests.fakes.clock import FakeClock


def ann(password: str) -> Credential:
    return Credential(username="ann", password=Secret(password))


class Vault:
    """Where the credential lies; counts how often somebody looks."""

    def __init__(self) -> None:
        self.content: Credential | None = ann("one")
        self.is_broken = False
        self.looks = 0

    async def read(self) -> Credential | None:
        self.looks += 1
        await asyncio.sleep(0)
        if self.is_broken:
            raise UpstreamUnreachable("fake.example", "the vault is shut")
        return self.content


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def credentials(vault: Vault, clock: FakeClock) -> Credentials:
    return Credentials(vault.read, clock=clock)


def test_the_header_of_basic_auth() -> None:
    header = Credential(username="ann", password=Secret("pä:ss")).basic().reveal()

    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "ann:pä:ss"
    assert "pä" not in repr(ann("pä"))


async def test_it_is_kept_for_minutes(vault: Vault, credentials: Credentials, clock: FakeClock) -> None:
    assert [await credentials.get() for _ in range(3)] == [ann("one")] * 3
    assert vault.looks == 1

    vault.content = None
    clock.advance(KEEP_SECONDS)

    assert await credentials.get() is None


async def test_all_who_ask_share_one_look(vault: Vault, credentials: Credentials) -> None:
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(credentials.get()) for _ in range(10)]

    assert {task.result() for task in asking} == {ann("one")}
    assert vault.looks == 1


async def test_a_refused_one_is_read_anew(vault: Vault, credentials: Credentials) -> None:
    refused = await credentials.get()
    vault.content = ann("two")

    renewed = [await credentials.renew(refused) for _ in range(3)]

    assert renewed == [ann("two")] * 3
    assert vault.looks == 2


async def test_who_is_always_refused_does_not_look_each_time(
    vault: Vault, credentials: Credentials, clock: FakeClock
) -> None:
    refused = await credentials.get()
    assert [await credentials.renew(refused) for _ in range(3)] == [refused] * 3
    assert vault.looks == 2

    clock.advance(RENEW_PAUSE_SECONDS)
    vault.content = ann("two")

    assert await credentials.renew(refused) == ann("two")


async def test_an_old_one_is_better_than_none(vault: Vault, credentials: Credentials, clock: FakeClock) -> None:
    vault.is_broken = True
    with pytest.raises(UpstreamUnreachable):
        await credentials.get()

    vault.is_broken = False
    await credentials.get()
    vault.is_broken = True
    clock.advance(KEEP_SECONDS)

    assert await credentials.get() == ann("one")
