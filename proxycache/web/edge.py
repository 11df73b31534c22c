"""Every request enters here: the hot path first, then parse, one job, render; at last one count and one log line."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import HttpVersion11, hdrs, web

from proxycache.observe.access_log import AccessEntry, AccessLog
from proxycache.oci.errors import Draining, LoopDetected, NameUnknown, ProxycacheError, Unsupported, UpstreamFailed
from proxycache.web.admin import get_admin
from proxycache.web.answers import NoResponse, ReadyAnswer, ReadyResponse
from proxycache.web.authorization import challenged, identify
from proxycache.web.error_responses import error_response, explain
from proxycache.web.exchange import Exchange, Services
from proxycache.web.list_endpoints import get_catalog, get_referrers, get_tags
from proxycache.web.pull_endpoints import get_blob, get_manifest
from proxycache.web.push_endpoints import delete_blob, delete_manifest, put_manifest
from proxycache.web.request_body import end_unless_read
from proxycache.web.request_parts import Kind, parse_path
from proxycache.web.streaming import BodyCut
from proxycache.web.token_endpoint import get_token, post_token
from proxycache.web.upload_endpoints import delete_upload, get_upload, patch_upload, put_upload, start_upload

logger = logging.getLogger(__name__)

_NOT_REMEMBERED_WITH = (hdrs.RANGE, hdrs.IF_NONE_MATCH, hdrs.VIA)
_CLIENT_LEFT = 499
_FOR_ALL = (Kind.SIGN_IN, Kind.ADMIN)

Handler = Callable[[Exchange], Awaitable[web.StreamResponse]]


async def _get_base(_exchange: Exchange) -> web.StreamResponse:
    headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
    return web.Response(body=b"{}", content_type="application/json", headers=headers)


async def _get_unknown(exchange: Exchange) -> web.StreamResponse:
    raise NameUnknown(exchange.request.path[:300], "no such endpoint")


def _reading(handler: Handler) -> dict[str, Handler]:
    return {hdrs.METH_GET: handler, hdrs.METH_HEAD: handler}


_ENDPOINTS: dict[Kind, dict[str, Handler]] = {
    Kind.BASE: _reading(_get_base),
    Kind.CATALOG: _reading(get_catalog),
    Kind.MANIFEST: _reading(get_manifest) | {hdrs.METH_PUT: put_manifest, hdrs.METH_DELETE: delete_manifest},
    Kind.BLOB: _reading(get_blob) | {hdrs.METH_DELETE: delete_blob},
    Kind.TAGS: _reading(get_tags),
    Kind.REFERRERS: _reading(get_referrers),
    Kind.SIGN_IN: _reading(get_token) | {hdrs.METH_POST: post_token},
    Kind.ADMIN: _reading(get_admin),
    Kind.UPLOAD: {
        hdrs.METH_POST: start_upload,
        hdrs.METH_PATCH: patch_upload,
        hdrs.METH_PUT: put_upload,
        hdrs.METH_GET: get_upload,
        hdrs.METH_DELETE: delete_upload,
    },
    Kind.UNKNOWN: _reading(_get_unknown),
}


def _unsupported(exchange: Exchange, handlers: Mapping[str, Handler]) -> Unsupported:
    """Say what may be asked there; of an upstream's name less than of ours."""
    if exchange.endpoint.name:
        route = exchange.find_route()
        if route.upstream is not None:
            return exchange.services.access.read_only(route)
    return Unsupported(f"{exchange.request.method[:20]} is not supported here", allowed=tuple(handlers))


class Edge:
    """The handler of one worker's low-level server. `services` may be exchanged while requests run."""

    def __init__(self, services: Services, access_log: AccessLog, *, via: str) -> None:
        self.services = services
        self._access_log = access_log
        self._via = via
        self._is_draining = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin_drain(self) -> None:
        """Refuse requests from now on; those that run go on."""
        self._is_draining = True

    async def wait_until_idle(self) -> None:
        """Wait until no request runs."""
        await self._idle.wait()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        started_at = time.monotonic()
        services = self.services
        services.metrics.requests.begin()
        answer = self._find_remembered(request, services)
        if answer is not None:
            services.note_use(answer.digest)
            self._note(request, started_at, (answer.kind, answer.status, len(answer.body), "hit"))
            return ReadyResponse(answer)
        self._in_flight += 1
        self._idle.clear()
        endpoint = parse_path(request.path)
        exchange = Exchange(request=request, services=services, endpoint=endpoint)
        status = _CLIENT_LEFT
        try:
            response = await self._answer(exchange)
            end_unless_read(request, response)
            status = response.status
            return response
        except BodyCut as cut:
            status = 200
            logger.warning("body cut", extra={"path": request.path, "why": cut.why})
            return NoResponse()
        except ConnectionError:  # the client has left
            return NoResponse()
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
            self._note(request, started_at, (endpoint.kind.value, status, exchange.sent_bytes, exchange.cache))

    def _find_remembered(self, request: web.BaseRequest, services: Services) -> ReadyAnswer | None:
        key = (request.method, request.raw_path, request.headers.get(hdrs.HOST, ""))
        answer = services.memory.find(key, services.revocations, services.now)
        if answer is None or self._is_draining or request.version != HttpVersion11:
            return None
        headers = request.headers
        return None if any(name in headers for name in _NOT_REMEMBERED_WITH) else answer

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        try:
            return await self._dispatch_in_time(exchange)
        except ProxycacheError as error:
            told = explain(error, exchange)
            if told.status >= 500:
                logger.warning("request failed", extra={"path": exchange.request.path, "why": str(error)})
            return challenged(error_response(told), told, exchange)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("unexpected error", extra={"path": exchange.request.path})
            return error_response(UpstreamFailed("internal error", status=500))

    async def _dispatch_in_time(self, exchange: Exchange) -> web.StreamResponse:
        try:
            async with exchange.deadline:
                return await self._dispatch(exchange)
        except TimeoutError:
            if not exchange.deadline.expired():
                raise
            raise UpstreamFailed("the upstream gave no answer in time", status=504) from None

    async def _dispatch(self, exchange: Exchange) -> web.StreamResponse:
        request, endpoint = exchange.request, exchange.endpoint
        if self._is_draining and (endpoint.kind is not Kind.ADMIN or endpoint.rest == "ready"):
            raise Draining
        if any(self._via in value for value in request.headers.getall(hdrs.VIA, ())):
            raise LoopDetected
        if endpoint.kind not in _FOR_ALL:
            await identify(exchange)
        handlers = _ENDPOINTS[endpoint.kind]
        handler = handlers.get(request.method)
        if handler is None:
            raise _unsupported(exchange, handlers)
        return await handler(exchange)

    def _note(self, request: web.BaseRequest, started_at: float, facts: tuple[str, int, int, str]) -> None:
        kind, status, sent_bytes, cache = facts
        self.services.metrics.requests.count(kind, request.method, status, sent_bytes, cache)
        self._access_log.record(
            AccessEntry(
                at=self.services.now(),
                remote=self.services.proxies.address_of(request),
                method=request.method,
                target=request.raw_path,
                status=status,
                sent_bytes=sent_bytes,
                seconds=time.monotonic() - started_at,
                cache=cache,
                user_agent=request.headers.get(hdrs.USER_AGENT, ""),
            )
        )
