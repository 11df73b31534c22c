"""A client of a real fake registry, with every event that it emitted."""

from collections.abc import AsyncIterator, Callable

import pytest

from proxycache.events import Event, Events
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.settings import UpstreamSettings
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry

MakeClient = Callable[..., UpstreamClient]


@pytest.fixture(autouse=True)
def no_proxy_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def seen() -> list[Event]:
    return []


@pytest.fixture
def events(seen: list[Event]) -> Events:
    events = Events()
    events.subscribe(seen.append)
    return events


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as started:
        yield started


@pytest.fixture
async def second_registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as started:
        yield started


@pytest.fixture
async def make_client(registry: FakeRegistry, events: Events, clock: FakeClock) -> AsyncIterator[MakeClient]:
    """Make clients of `registry` with other settings; they are closed in the end."""
    made: list[UpstreamClient] = []

    def make(**changes: object) -> UpstreamClient:
        settings = UpstreamSettings(**{"name": "fake.example", "url": registry.url, **changes})
        made.append(UpstreamClient(settings, events=events, clock=clock, via="cache-1"))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def client(make_client: MakeClient) -> UpstreamClient:
    return make_client()
