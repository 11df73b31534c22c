"""Where an upstream's answer may lead us: not into the network that we stand in.

A token realm or a redirect is a URL that somebody else wrote. Names are judged by the addresses that the connection
then uses, so that a name cannot mean one address when it is checked and another when it is called.
"""

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

# A look-up hangs for long when the name servers are gone. These threads do nothing else, so that no work on the disk
# ever stands behind one; a look-up for which none is free waits, at most as long as connecting may take.
_LOOKUP_THREADS = ThreadPoolExecutor(16, thread_name_prefix="name look-up")


class AddressRefused(OSError):
    """The host has an address that we were led to and must not go to."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is not a public address")
        self.host = host


class GuardedResolver(AbstractResolver):
    """Resolves `trusted` hosts to any address, all others to public addresses only.

    Where `leader` itself turns out to be internal (a registry in our own network), others may be internal too.
    `proxies` are the egress proxies' hosts, which no answer of an upstream leads to.
    """

    def __init__(self, trusted: frozenset[str], *, proxies: frozenset[str], leader: str = "") -> None:
        self._trusted = trusted
        self._proxies = proxies
        self._leader = leader
        self._leads_inside = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; raises AddressRefused."""
        look_up = functools.partial(
            socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(_LOOKUP_THREADS, look_up)
        addresses = [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in found
        ]
        if host not in self._proxies:
            self.admit(host, [address["host"] for address in addresses])
        return addresses

    async def close(self) -> None:
        """Do nothing: the threads are everybody's."""

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
