"""A slow line from clients to a server here, which counts what clients send.

As root: a pair of interfaces with clients in a network namespace of their own, where the kernel holds the rate (tbf).
Without: only a relay, which holds it by pausing.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_PIECE_BYTES = 16 << 10
_NETWORK = "10.213.77"


class _Relay:
    """Passes connections on to a port of this machine; `rate` in bytes per second, 0: somebody else holds it."""

    def __init__(self, host: str, port_behind: int, *, rate: int) -> None:
        self.sent_bytes = 0
        self._rate = rate
        self._port_behind = port_behind
        self._line = threading.Lock()
        self._free_at = 0.0
        self._listener = socket.create_server((host, 0))
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port_behind))
                threading.Thread(target=self._pass_on, args=(client, server, self._wait_for_line), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client), daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, wait_for_line: Callable[[int], None] | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if wait_for_line is not None:
                    wait_for_line(len(piece))
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _wait_for_line(self, size: int) -> None:
        with self._line:
            self.sent_bytes += size
            self._free_at = max(time.monotonic(), self._free_at) + (size / self._rate if self._rate else 0.0)
            free_at = self._free_at
        time.sleep(max(0.0, free_at - time.monotonic()))


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowLine:
    """`address` is the server's as clients have it; a client is started by `prefix` and its own command."""

    relay: _Relay
    prefix: Sequence[str]

    @property
    def address(self) -> str:
        return self.relay.address


@contextlib.contextmanager
def narrow_line(port: int, *, rate: int) -> Iterator[NarrowLine]:
    """Lead to the server at `port` with `rate` bytes per second for all clients together."""
    with contextlib.ExitStack() as stack:
        prefix: Sequence[str] = ()
        host, paused_rate = "127.0.0.1", rate
        if os.geteuid() == 0 and shutil.which("tc") and shutil.which("ip"):
            prefix = stack.enter_context(_namespace(rate))
            host, paused_rate = f"{_NETWORK}.1", 0
        relay = stack.enter_context(contextlib.closing(_Relay(host, port, rate=paused_rate)))
        yield NarrowLine(relay=relay, prefix=prefix)


@contextlib.contextmanager
def _namespace(rate: int) -> Iterator[Sequence[str]]:
    name = f"pcb{os.getpid()}"
    here, there = f"{name}h", f"{name}c"
    inside = ["ip", "netns", "exec", name]
    _do("ip", "netns", "add", name)
    try:
        _do("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _do("ip", "addr", "add", f"{_NETWORK}.1/30", "dev", here)
        _do("ip", "link", "set", here, "up")
        _do(*inside, "ip", "addr", "add", f"{_NETWORK}.2/30", "dev", there)
        _do(*inside, "ip", "link", "set", there, "up")
        shape = ["rate", f"{rate * 8}bit", "burst", "32kb", "latency", "200ms"]
        _do(*inside, "tc", "qdisc", "add", "dev", there, "root", "tbf", *shape)
        yield inside
    finally:
        subprocess.run(["ip", "link", "del", here], capture_output=True, check=False)
        _do("ip", "netns", "del", name)


def _do(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)
