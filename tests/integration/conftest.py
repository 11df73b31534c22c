"""An upstream that fails as it is told to, and caches in front of it; nothing may block their event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from proxycache.config.model import ConfiguredUpstream, LocalSettings, ServerSettings, Settings
from proxycache.observe.settings import LogSettings
from proxycache.policy.admission import RuleSettings
from proxycache.policy.freshness import FreshnessSettings
from proxycache.registry.settings import AuthSettings
from proxycache.store.settings import StorageSettings
from proxycache.upstream.settings import UpstreamSettings
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache, start_cache

StartCache = Callable[..., Awaitable[Cache]]

_FRESHNESS = ("fresh_for", "max_stale", "negative_for", "tag_rules")
_RULES = ("allow", "deny")
_LOCAL = ("borrow", "borrow_from", "bases", "sparse", "max_manifest_size")
# The hot path's microsecond calls (STYLE 3.5), and what runs once at the start.
_MAY_BLOCK = {
    "store/blobs.py": {"size"},
    "store/spool.py": {"is_distrusted"},
    "store/spool_writer.py": {"discard", "publish", "mark_published"},
    "store/leases.py": {"is_same_file", "claim"},
    "store/database.py": {"generation", "revocations"},
    "store/layout.py": {"prepare"},
    "registry/users.py": {"stamp_of"},
    "app/parts.py": {"_instance_name"},
    "app/services.py": {"_is_ready"},
}


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    guard = BlockBuster("proxycache")
    for function in guard.functions.values():
        for path, names in _MAY_BLOCK.items():
            function.can_block_in(f"proxycache/{path}", names)
    guard.activate()
    yield
    guard.deactivate()


@pytest.fixture(autouse=True)
def no_proxy_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def upstream() -> AsyncIterator[FakeRegistry]:
    """The registry that stands for docker.io."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def other_upstream() -> AsyncIterator[FakeRegistry]:
    """The registry that stands for ghcr.io, or for a mirror."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def start(
    tmp_path: Path, clock: FakeClock, upstream: FakeRegistry, other_upstream: FakeRegistry
) -> AsyncIterator[StartCache]:
    """Start caches on one data directory; keywords set what docker.io has, or `offline`."""
    started: list[Cache] = []

    async def start(*, offline: bool = False, **changes: object) -> Cache:
        bounds = {key: changes.pop(key) for key in ("max_size", "min_free") if key in changes}
        server = {key: changes.pop(key) for key in ("trusted_proxies", "public_url") if key in changes}
        auth = changes.pop("auth", AuthSettings())
        local = LocalSettings(**{key: changes.pop(key) for key in _LOCAL if key in changes})
        upstreams = {
            "docker.io": _configure("docker.io", upstream.url, changes),
            "ghcr.io": _configure("ghcr.io", other_upstream.url, {}),
        }
        settings = Settings(
            server=ServerSettings(offline=offline, **server),
            storage=StorageSettings(directory=tmp_path / "data", **bounds),
            upstreams=upstreams,
            log=LogSettings(level="error"),
            auth=auth,
            local=local,
        )
        started.append(await start_cache(settings, clock))
        return started[-1]

    yield start
    for cache in started:
        await cache.stop()


@pytest.fixture
async def cache(start: StartCache) -> Cache:
    return await start()


@pytest.fixture
async def workers(start: StartCache) -> tuple[Cache, Cache]:
    """Two caches on one data directory."""
    return await start(), await start()


def _configure(name: str, url: str, changes: dict[str, object]) -> ConfiguredUpstream:
    freshness = {key: value for key, value in changes.items() if key in _FRESHNESS}
    rules = {key: value for key, value in changes.items() if key in _RULES}
    client = {key: value for key, value in changes.items() if key not in (*_FRESHNESS, *_RULES)}
    return ConfiguredUpstream(
        client=UpstreamSettings(**{"name": name, "url": url, **client}),
        freshness=FreshnessSettings(**freshness),
        rules=RuleSettings(**rules),
        is_default=name == "docker.io",
    )
