"""HTTP with one registry and wherever it redirects to.

Invariant 8: a credential goes to the host it is for, never across a redirect to another scheme, host or port.
Nothing is decompressed, no cookie is kept, `~/.netrc` is not read; aiohttp's errors end here.
"""

import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.request import proxy_bypass

import aiohttp
from yarl import URL

from proxycache.upstream.addresses import GuardedResolver, is_address
from proxycache.upstream.errors import UpstreamMisbehaved
from proxycache.upstream.failures import translated_errors
from proxycache.upstream.settings import NO_SECRET, Secret, UpstreamSettings, find_egress_proxies

MAX_REDIRECTS = 5
MAX_HEADER_BYTES = 32 * 1024  # signed URLs are long
READ_BUFFER_BYTES = 256 * 1024
LEAST_WINDOW_BYTES, MOST_WINDOW_BYTES = 128 * 1024, 4 * 1024 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
PLAIN_URL = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. It follows redirects unless `form` is posted, to other hosts only where `leaves_host`."""

    method: str
    url: URL
    headers: Mapping[str, str]
    authorization: Secret = NO_SECRET
    form: Mapping[str, str] | None = field(default=None, repr=False)
    leaves_host: bool = True


class Transport:
    """Sends requests for one URL of an upstream; connections are opened when first needed.

    The content of a registry may be redirected to any public host, and into our own network if the registry is there.
    """

    def __init__(self, url: URL, settings: UpstreamSettings, *, tls: ssl.SSLContext | bool, via: str) -> None:
        self._upstream = settings.name
        self.url = url
        self._host = url.raw_host or ""
        self._settings = settings
        self._tls = tls
        self._headers = {"Via": f"1.1 {via}", "User-Agent": "proxycache", "Accept-Encoding": "identity"}
        self._proxies = {scheme: URL(proxy) for scheme, proxy in find_egress_proxies(os.environ).items()}
        self._resolver: GuardedResolver | None = None
        self._opened: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> aiohttp.ClientResponse:
        """Return the answer once its headers are here; the caller releases it. Raises UpstreamError."""
        url, authorization = request.url, request.authorization
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send_once(request, url, authorization)
            if response.status not in REDIRECTS or request.form is not None:
                return response
            target = self._find_target(response)
            leaves_host = target.origin() != url.origin()
            if leaves_host and not request.leaves_host:
                return response
            response.release()
            if leaves_host:
                authorization = NO_SECRET
            url = target
        raise UpstreamMisbehaved(self._upstream, f"more than {MAX_REDIRECTS} redirects, last to {redact_url(url)}")

    async def close(self) -> None:
        """Close all connections; a request that is sent later opens new ones."""
        session, self._opened = self._opened, None
        if session is not None:
            await session.close()

    async def _send_once(self, request: Request, url: URL, authorization: Secret) -> aiohttp.ClientResponse:
        headers = {**self._headers, **request.headers}
        if authorization:
            headers["Authorization"] = authorization.reveal()
        with translated_errors(self._upstream):
            session = self._session()
            self._admit_address(url.raw_host or "")
            return await session.request(
                request.method,
                url,
                headers=headers,
                data=request.form,
                allow_redirects=False,
                proxy=self._find_proxy(url),
                ssl=self._tls,
            )

    def _admit_address(self, host: str) -> None:
        if is_address(host) and self._resolver is not None:  # the resolver is asked for names only
            self._resolver.admit(host, [host])

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._resolver = self._new_resolver()
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    resolver=self._resolver,
                    socket_factory=open_socket_with(self._settings.bandwidth.highest_rate),
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=self._settings.connect_timeout, sock_read=self._settings.stall_timeout
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_BUFFER_BYTES,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._opened

    def _new_resolver(self) -> GuardedResolver:
        return GuardedResolver(frozenset({self._host}), proxies=self._proxy_hosts(), leader=self._host)

    def _proxy_hosts(self) -> frozenset[str]:
        return frozenset(proxy.raw_host or "" for proxy in self._proxies.values())

    def _find_proxy(self, url: URL) -> URL | None:
        proxy = self._proxies.get(url.scheme)
        if proxy is None or proxy_bypass(f"{url.host}:{url.port}"):
            return None
        return proxy

    def _find_target(self, response: aiohttp.ClientResponse) -> URL:
        try:
            return parse_location(response.url, response.headers.get("Location", ""))
        except ValueError:
            response.release()
            reason = f"a redirect ({response.status}) to no http or https URL"
            raise UpstreamMisbehaved(self._upstream, reason) from None


class TokenTransport(Transport):
    """Sends requests for tokens: to the registry's own host, to the host that is configured, to public ones."""

    def _new_resolver(self) -> GuardedResolver:
        realm_host = URL(f"//{self._settings.token_realm}").raw_host or ""
        return GuardedResolver(frozenset({self._host, realm_host}), proxies=self._proxy_hosts())


def open_socket_with(rate: int) -> Callable[[aiohttp.AddrInfoType], socket.socket] | None:
    """Make sockets that hold little where a rate is set: what the kernel takes in has come down the line already."""
    if not rate:
        return None
    window = max(LEAST_WINDOW_BYTES, min(MOST_WINDOW_BYTES, rate // 20))

    def open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        return opened

    return open_socket


def redact_url(url: URL) -> str:
    """Return `url` for people: without user, password, query and fragment."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def parse_location(base: URL, location: str) -> URL:
    """Return where a redirect from `base` leads; raises ValueError unless it is an http or https URL.

    It stays as it is spelled: quoting a signed URL anew would break its signature.
    """
    target = base.join(URL(location, encoded=PLAIN_URL.fullmatch(location) is not None))
    if not location or target.scheme not in ("http", "https") or not target.host:
        raise ValueError("not a location on the web")
    return target.with_user(None).with_fragment(None)
