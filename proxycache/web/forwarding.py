"""Who really asks: the peer, or, where the peer is a proxy that we trust, the client that it names.

A client can write any header, and a proxy passes on what it does not set itself. So a trusted proxy is believed from
the right: the last address that is not a trusted proxy's own is the client. Where `Forwarded` and `X-Forwarded-For`
disagree, one of them is the client's invention, and nobody is believed.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDictProxy

_LOOPBACK = ("127.", "::ffff:127.")
_LOOPBACK_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)
# How the names of headers begin that proxies add, of whichever maker; in small letters.
_FORWARDING = (
    "forwarded",
    "x-forwarded",
    "x-client-ip",
    "x-real-",
    "x-original-",
    "x-cluster-client-ip",
    "x-envoy-",
    "cf-connecting",
    "true-client-ip",
    "fastly-client-ip",
)
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_FORWARDED_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"\\]*)"|([^\s",;]*))\s*')
_LONGEST = 4096

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request comes from. `is_loopback`: from this machine, and by its name."""

    address: str
    is_loopback: bool


class Proxies:
    """The proxies that we trust, by address or network, and the URL under which they lead to us, if one was said.

    Raises ValueError for what is neither an address nor a network.
    """

    def __init__(self, trusted: Sequence[str] = (), *, public_url: str = "") -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in trusted]
        self._public_url = public_url.rstrip("/")

    def origin_of(self, request: web.BaseRequest) -> Origin:
        """Return where `request` comes from; hostile headers make it come from elsewhere, never from here.

        A proxy may not say that it forwards. Then HTTP/1.0, which no registry client speaks, gives it away, or a Host
        that it passes on, which also stops web pages that had their name resolved to this machine. Other pages post to
        us by our own name, without asking first: their browser says so.
        """
        address = request.remote or ""
        if self._comes_from_trusted(request):
            client = self._find_client(request.headers)
            is_near = client is not None and client.is_loopback
            address = str(client or address)
        else:
            is_near = (address == "::1" or address.startswith(_LOOPBACK)) and not _is_forwarded(request)
        is_near = is_near and not _is_of_a_page(request.headers)
        is_by_own_name = _LOOPBACK_HOST.fullmatch(request.headers.get(hdrs.HOST, "")) is not None
        return Origin(address=address, is_loopback=is_near and is_by_own_name)

    def address_of(self, request: web.BaseRequest) -> str:
        """Return the address of who asks, for the log; without proxies at no cost."""
        return self.origin_of(request).address if self._networks else request.remote or ""

    def base_url(self, request: web.BaseRequest) -> str:
        """Return the URL by which this client reaches us, without a slash at its end; nothing hostile is in it."""
        if self._public_url:
            return self._public_url
        host, scheme = request.headers.get(hdrs.HOST, ""), request.scheme
        if self._comes_from_trusted(request):
            host = _last(request.headers, "X-Forwarded-Host") or host
            scheme = _last(request.headers, "X-Forwarded-Proto") or scheme
        named = host if _HOST.fullmatch(host) else _own_address(request)
        return f"{'https' if scheme.lower() == 'https' else 'http'}://{named}"

    def _comes_from_trusted(self, request: web.BaseRequest) -> bool:
        if not self._networks:  # nobody has to be parsed
            return False
        peer = _parse_address(request.remote or "")
        return peer is not None and self._is_trusted(peer)

    def _is_trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)

    def _find_client(self, headers: CIMultiDictProxy[str]) -> _Address | None:
        """Return whom the trusted proxies name; None where they name nobody, or not the same one."""
        lists = (_forwarded_for(headers), _x_forwarded_for(headers))
        found = [self._nearest_stranger(each) for each in lists if each]
        return found[0] if found and all(each == found[0] for each in found) else None

    def _nearest_stranger(self, hops: Sequence[str]) -> _Address | None:
        for hop in reversed(hops):
            address = _parse_address(hop)
            if address is None or not self._is_trusted(address):
                return address
        return _parse_address(hops[0])


def _is_forwarded(request: web.BaseRequest) -> bool:
    names = [name.lower() for name in request.headers]
    return request.version < HttpVersion11 or "via" in names or any(name.startswith(_FORWARDING) for name in names)


def _is_of_a_page(headers: CIMultiDictProxy[str]) -> bool:
    """Tell whether a browser asks on behalf of a web page that we did not give it."""
    return hdrs.ORIGIN in headers or headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def _x_forwarded_for(headers: CIMultiDictProxy[str]) -> list[str]:
    return _items(headers.getall("X-Forwarded-For", ()))


def _forwarded_for(headers: CIMultiDictProxy[str]) -> list[str]:
    """Return the `for` of each hop of Forwarded (RFC 7239); a hop without one is nobody's address."""
    hops = []
    for item in _items(headers.getall("Forwarded", ())):
        found = filter(None, map(_FORWARDED_PAIR.fullmatch, item.split(";")))
        pairs = {each[1].lower(): each[2] or each[3] for each in found}
        hops.append(pairs.get("for", "unknown"))
    return hops


def _items(values: Iterable[str]) -> list[str]:
    text = ",".join(values)
    if len(text) > _LONGEST:
        return ["unknown"]
    return [item.strip() for item in text.split(",")] if text else []


def _last(headers: CIMultiDictProxy[str], name: str) -> str:
    items = _items(headers.getall(name, ()))
    return items[-1] if items else ""


def _parse_address(text: str) -> _Address | None:
    """Return the address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; one of IPv4 in IPv6 as the IPv4 it is."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _own_address(request: web.BaseRequest) -> str:
    """Return where the connection reached us, for who sent no usable Host header."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    if not name:
        return "localhost"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
