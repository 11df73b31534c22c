"""Where an upstream's answer may lead us: not into the network that we stand in.

A token realm or a redirect is a URL that somebody else wrote. Names are judged by the addresses that the connection
then uses, so that a name cannot mean one address when it is checked and another when it is called.
"""

import ipaddress
import socket
from collections.abc import Iterable

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver


class AddressRefused(OSError):
    """The host has an address that we were led to and must not go to."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is not a public address")
        self.host = host


class GuardedResolver(ThreadedResolver):
    """Resolves `trusted` hosts to any address, all others to public addresses only.

    Where `leader` itself turns out to be internal (a registry in our own network), others may be internal too.
    `proxies` are the egress proxies' hosts, which no answer of an upstream leads to.
    """

    def __init__(self, trusted: frozenset[str], *, proxies: frozenset[str], leader: str = "") -> None:
        super().__init__()
        self._trusted = trusted
        self._proxies = proxies
        self._leader = leader
        self._leads_inside = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; raises AddressRefused."""
        found = await super().resolve(host, port, family)
        if host not in self._proxies:
            self.admit(host, [address["host"] for address in found])
        return found

    def admit(self, host: str, addresses: Iterable[str]) -> None:
        """Raise AddressRefused unless `host`, which has these addresses, may be contacted."""
        if all(is_public_address(address) for address in addresses):
            return
        if host == self._leader:
            self._leads_inside = True
        if host not in self._trusted and not self._leads_inside:
            raise AddressRefused(host)


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public_address(text: str) -> bool:
    """Return whether anybody on the internet would reach the same machine by this address."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_global and not address.is_multicast
