"""Listening sockets: bound once by the supervisor, shared by all workers.

asyncio takes up to `backlog` connections at one wake-up, so of several workers on one socket one could grab them
all: each takes one at a time from a socket that queues many.
"""

import errno
import socket
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

from aiohttp.web import BaseRunner, SockSite

from proxycache.config.model import Address
from proxycache.oci.errors import ProxycacheError

QUEUE_LENGTH = 1024
FAMILY_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class CannotListen(ProxycacheError):
    """The address is taken, is not ours, or needs a privilege."""

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")


def open_listeners(addresses: Iterable[Address]) -> list[socket.socket]:
    """Return sockets that listen on every address, or raise CannotListen and leave none open."""
    listeners: list[socket.socket] = []
    for address in addresses:
        try:
            listeners += _open_each(address)
        except OSError as error:
            _close(listeners)
            raise CannotListen(address, (error.strerror or str(error)).lower()) from error
    return listeners


def listener_urls(listeners: Iterable[socket.socket], *, scheme: str = "http") -> list[str]:
    """Return where clients find the listeners, with the ports that they really have."""
    names = [listener.getsockname() for listener in listeners]
    return [f"{scheme}://{Address(host=name[0], port=name[1])}" for name in names]


async def start_sites(
    runner: BaseRunner, listeners: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None
) -> None:
    """Serve `runner` on the shared listeners, taking one connection at a time; with `tls`, nothing but TLS."""
    for listener in listeners:
        await SockSite(runner, listener, ssl_context=tls, backlog=1).start()
        listener.listen(QUEUE_LENGTH)  # the queue is the socket's, and longer than what one worker takes


def _open_each(address: Address) -> list[socket.socket]:
    """Listen on each address that the host has, as localhost has two; one of a family that is missing may fail."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    targets = list(dict.fromkeys((family, name) for family, _, _, _, name in found))
    listeners: list[socket.socket] = []
    for position, (family, name) in enumerate(targets):
        try:
            listeners.append(_open(family, name))
        except OSError as error:
            is_last_chance = not listeners and position == len(targets) - 1
            if error.errno not in FAMILY_MISSING or is_last_chance:
                _close(listeners)
                raise
    return listeners


def _open(family: socket.AddressFamily, name: tuple[Any, ...]) -> socket.socket:
    # With protocol 0, asyncio would leave TCP_NODELAY off on each connection.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # 0.0.0.0 may be listed beside ::
        listener.bind(name)
        listener.listen(QUEUE_LENGTH)
    except OSError:
        listener.close()
        raise
    return listener


def _close(listeners: Iterable[socket.socket]) -> None:
    for listener in listeners:
        listener.close()
