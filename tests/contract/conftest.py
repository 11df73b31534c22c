"""Registries that hold the same content: the fake one, ours in front of it, and the real one where it is installed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxycache.clock import SystemClock
from proxycache.config.model import ConfiguredUpstream, Settings
from proxycache.observe.settings import LogSettings
from proxycache.policy.freshness import FreshnessSettings
from proxycache.store.settings import StorageSettings
from proxycache.upstream.settings import UpstreamSettings
from tests.builders import Content, Image, image
from tests.clients.services import docker_registry
from tests.clients.tools import find_tool
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache, Client, start_cache

NAME = "library/app"
TAGS = ("1", "2", "3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A registry, and what it holds under NAME."""

    client: Client
    images: tuple[Image, ...]
    pages_tags: bool  # docker-registry 2 gives all at once, in no order

    @property
    def image(self) -> Image:
        return self.images[0]

    @property
    def layer(self) -> Content:
        return self.image.layers[0]


IMAGES = tuple(image(seed=tag, layer_size=100_000) for tag in TAGS)


@pytest.fixture(params=["fake registry", "proxycache", "docker-registry"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        if request.param == "docker-registry":
            client = await stack.enter_async_context(real_registry(tmp_path))
        else:
            upstream = await stack.enter_async_context(FakeRegistry())
            for each, tag in zip(IMAGES, TAGS, strict=True):
                upstream.add_image(NAME, each, tag=tag)
            is_ours = request.param == "proxycache"
            client = await start_ours(tmp_path, upstream.url) if is_ours else Client(upstream.url)
        stack.push_async_callback(client.stop if isinstance(client, Cache) else client.close)
        yield Subject(client=client, images=IMAGES, pages_tags=request.param != "docker-registry")


async def start_ours(directory: Path, url: str) -> Cache:
    client = UpstreamSettings(name="docker.io", url=url)
    upstream = ConfiguredUpstream(client=client, freshness=FreshnessSettings(), is_default=True)
    storage = StorageSettings(directory=directory / "data")
    settings = Settings(storage=storage, upstreams={"docker.io": upstream}, log=LogSettings(level="error"))
    return await start_cache(settings, SystemClock())


@asynccontextmanager
async def real_registry(directory: Path) -> AsyncIterator[Client]:
    find_tool("docker-registry")  # skips where it is missing
    running = docker_registry(directory / "registry", directory / "registry.log")
    service = await asyncio.to_thread(running.__enter__)
    client = Client(service.url)
    try:
        for each, tag in zip(IMAGES, TAGS, strict=True):
            await push(client, each, tag)
        yield client
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def push(client: Client, pushed: Image, tag: str) -> None:
    """Push as any client does; the real registry gets its content in no other way."""
    for each in pushed.blobs():
        begun = await client.ask("POST", f"/v2/{NAME}/blobs/uploads/")
        location = begun.headers["Location"].removeprefix(client.url)
        put = await client.put(f"{location}&digest={each.digest}", each.body, "application/octet-stream")
        assert put.status == 201
    put = await client.put(f"/v2/{NAME}/manifests/{tag}", pushed.body, pushed.media_type)
    assert put.status == 201
