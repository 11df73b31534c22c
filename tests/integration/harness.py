"""A cache of ours in the test's own event loop, on a real port and a real disk, and a client that says all it got.

Two caches on one data directory stand for two workers: they share what is on disk, and nothing else.
"""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

from proxycache.app import Jobs, Parts, build_collector, build_jobs, build_services, open_parts
from proxycache.clock import Clock
from proxycache.config.model import Address, Settings
from proxycache.events import Event, FillEnded
from proxycache.observe.access_log import AccessLog
from proxycache.policy.admission import RuleSettings
from proxycache.registry.settings import AuthSettings
from proxycache.server.listeners import open_listeners, start_sites
from proxycache.web.bad_requests import server_logger
from proxycache.web.edge import Edge

Happened = TypeVar("Happened")

ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}  # makes a request one of somebody who is not on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client got. `is_complete`: the body ended as its headers said that it would."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    is_complete: bool

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The error code in the body."""
        return str(self.json()["errors"][0]["code"])

    @property
    def message(self) -> str:
        """What the error in the body says."""
        return str(self.json()["errors"][0]["message"])


class Client:
    """Asks one registry, on a new connection for each request, as docker does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0), auto_decompress=False
        )

    async def close(self) -> None:
        await self._session.close()

    @contextlib.asynccontextmanager
    async def open(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the response as soon as its headers are here."""
        async with self._session.request(method, self.url + path, headers=headers, allow_redirects=False) as response:
            yield response

    async def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        async with self.open(path, headers, method=method) as response:
            body, is_complete = await read(response)
            return Answer(status=response.status, headers=response.headers, body=body, is_complete=is_complete)

    async def put(self, path: str, body: bytes, content_type: str) -> Answer:
        url, headers = self.url + path, {"Content-Type": content_type}
        async with self._session.put(url, data=body, headers=headers) as response:
            return Answer(
                status=response.status, headers=response.headers, body=await response.read(), is_complete=True
            )

    async def send(self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Ask with a body: bytes, or what yields some, which is sent without a length."""
        url = self.url + path
        data = io.BytesIO(body) if isinstance(body, bytes) and body else body
        async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as response:
            got, is_complete = await read(response)
            return Answer(status=response.status, headers=response.headers, body=got, is_complete=is_complete)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.ask("GET", path, headers)

    async def head(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.ask("HEAD", path, headers)

    async def get_blob(self, repository: str, digest: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.get(f"/v2/{repository}/blobs/{digest}", headers)

    async def get_range(self, repository: str, digest: str, wanted: str) -> Answer:
        return await self.get_blob(repository, digest, {"Range": f"bytes={wanted}"})

    async def get_manifest(self, repository: str, reference: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.get(f"/v2/{repository}/manifests/{reference}", headers)

    async def head_manifest(self, repository: str, reference: str) -> Answer:
        return await self.head(f"/v2/{repository}/manifests/{reference}")


async def read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return what came of the body, and whether that is all of it."""
    body = bytearray()
    try:
        async for piece in response.content.iter_any():
            body += piece
    except (aiohttp.ClientError, ConnectionError):
        return bytes(body), False
    return bytes(body), True


class Cache(Client):
    """A running cache: a client of itself, with a look at what happens inside."""

    def __init__(self, settings: Settings, parts: Parts, edge: Edge, stack: contextlib.AsyncExitStack) -> None:
        super().__init__(f"http://{settings.server.listen[0]}")
        self.parts = parts
        self.edge = edge
        self.events: list[Event] = []
        self._happened = asyncio.Event()
        self._settings = settings
        self._stack = stack
        parts.events.subscribe(self._note)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._happened.set()

    @property
    def fills(self) -> list[str]:
        """How the fills ended that were led here."""
        return [event.outcome for event in self.events if isinstance(event, FillEnded)]

    async def wait_for_fills(self, count: int = 1) -> list[str]:
        """Wait until so many fills have ended here."""
        while len(self.fills) < count:
            self._happened.clear()
            await self._happened.wait()
        return self.fills

    def holds(self, digest: str) -> bool:
        """Tell whether the blob was published."""
        algorithm, _, encoded = digest.partition(":")
        return self.parts.layout.blobs.joinpath(algorithm, encoded[:2], encoded).exists()

    @property
    def jobs(self) -> Jobs:
        """What runs behind requests, as its settings want it."""
        return build_jobs(self._settings, self.parts, self.edge.services)

    async def wait_for(self, kind: type[Happened], count: int = 1) -> list[Happened]:
        """Wait until so many events of this kind have happened here, and return them."""
        while True:
            events: list[object] = [*self.events]
            found = [event for event in events if isinstance(event, kind)]
            if len(found) >= count:
                return found
            self._happened.clear()
            await self._happened.wait()

    async def collect(self) -> None:
        """Remove what was pushed and nothing needs, as a worker does every hour."""
        await build_collector(self.parts).collect()

    def reload(self, rules: RuleSettings | None = None, auth: AuthSettings | None = None) -> None:
        """Build the jobs anew, as after SIGHUP; `rules` are docker.io's from now on, `auth` everybody's."""
        if auth is not None:
            self._settings = replace(self._settings, auth=auth)
        if rules is not None:
            upstreams = dict(self._settings.upstreams)
            upstreams["docker.io"] = replace(upstreams["docker.io"], rules=rules)
            self._settings = replace(self._settings, upstreams=upstreams)
        self.edge.services = build_services(self._settings, self.parts)

    async def stop(self) -> None:
        """End as a worker does; what it leads is interrupted, and what it wrote stays."""
        await self.close()
        await self._stack.aclose()


async def start_cache(settings: Settings, clock: Clock) -> Cache:
    """Start a cache on a free port, of which its settings know."""
    [listener] = open_listeners([Address(host="127.0.0.1", port=0)])
    address = Address(host="127.0.0.1", port=listener.getsockname()[1])
    settings = replace(settings, server=replace(settings.server, listen=(address,)))
    stack = contextlib.AsyncExitStack()
    stack.callback(listener.close)
    try:
        parts = await stack.enter_async_context(open_parts(settings, clock))
        edge = Edge(build_services(settings, parts), AccessLog(settings.log), via=parts.via)
        server = web.Server(
            edge.handle, access_log=None, logger=server_logger(), handler_cancellation=True, auto_decompress=False
        )
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await start_sites(runner, [listener])
    except BaseException:
        await stack.aclose()
        raise
    return Cache(settings, parts, edge, stack)
