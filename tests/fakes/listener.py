"""One listening address of a fake: it notes every request, and can go silent, stop and come back at the same port."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

from tests.fakes.faults import Fault, Faults

Handler = Callable[[web.BaseRequest, Fault], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    body: bytes = b""


@dataclass(slots=True, eq=False)
class Listener:
    """An HTTP server on a loopback port that hands each request to `handle`, with what shall go wrong with it."""

    handle: Handler
    faults: Faults = field(default_factory=Faults)
    requests: list[SeenRequest] = field(default_factory=list)
    port: int = 0
    silent: bool = False  # takes requests and never answers, as if packets vanished
    _runner: web.ServerRunner | None = None
    _busy: set[asyncio.Task[object]] = field(default_factory=set)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def count(self, method: str = "", part: str = "") -> int:
        """Return how many requests came with this method and with `part` in their path."""
        return sum(method in ("", seen.method) and part in seen.path for seen in self.requests)

    async def start(self) -> None:
        """Listen, at the port of before if there was one."""
        self._runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    @property
    def connections(self) -> int:
        """How many clients are connected, whether or not they ask something."""
        server = self._runner.server if self._runner is not None else None
        return len(server.connections) if server is not None else 0

    async def wait_until_left(self) -> None:
        """Wait until no client is connected any more."""
        async with asyncio.timeout(10):
            while self.connections:
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Refuse connections from now on and end those that there are."""
        for task in self._busy:
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            return await self._answer(request)
        finally:
            self._busy.discard(task)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = SeenRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=CIMultiDict(request.headers),
            body=await request.read(),
        )
        self.requests.append(seen)
        if self.silent:
            await asyncio.Event().wait()
        fault = self.faults.take(request.method, request.path)
        if fault.delay is not None:
            await asyncio.sleep(fault.delay)
        if fault.hold is not None:
            await fault.hold.pass_through()
        if fault.status is not None:
            return web.Response(status=fault.status, headers=fault.headers, body=fault.body)
        return await self.handle(request, fault)
