"""What stands between clients and the cache, so that a test can strike at one exact point of their conversation.

It passes bytes on in the pieces in which they come, in both directions and over all connections, and counts them. What
is done before the n-th piece is done while nothing else passes, so the point is as exact as the order in which the
pieces come. A point may also be named by what a client says there.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

_PIECE_BYTES = 32 * 1024


class Relay:
    """Listens on a port that stays, whatever becomes of the server at `port_behind`."""

    def __init__(self) -> None:
        self.port_behind = 0
        self.passed = 0
        self.sent_bytes = 0  # by clients
        self._strike_at = 0
        self._strike_before = b""
        self._strike: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def count_from_now(self, strike_at: int = 0, strike: Callable[[], None] | None = None) -> None:
        """Count anew; before piece number `strike_at` passes, do `strike`."""
        with self._lock:
            self.passed, self.sent_bytes = 0, 0
            self._strike_at, self._strike_before, self._strike = strike_at, b"", strike

    def strike_before(self, said: bytes, strike: Callable[[], None]) -> None:
        """Do `strike` before the first piece of a client that has `said` in it, such as the head of a request."""
        with self._lock:
            self._strike_at, self._strike_before, self._strike = 0, said, strike

    @property
    def has_struck(self) -> bool:
        return bool(self._strike_at or self._strike_before) and self._strike is None

    def cut(self) -> None:
        """End every connection."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._start(self._join, client)

    def _join(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self.port_behind), timeout=10)
            except OSError:
                return
            with server:
                server.settimeout(None)
                both = {client, server}
                self._open |= both
                back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
                back.start()
                self._pass_on(client, server, is_from_client=True)
                back.join()
                self._open -= both

    def _pass_on(self, source: socket.socket, target: socket.socket, *, is_from_client: bool = False) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                self._count(piece if is_from_client else b"")
                target.sendall(piece)
        for end in (source, target):  # a connection that is half closed is of no use to HTTP
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _count(self, said: bytes) -> None:
        with self._lock:
            self.passed += 1
            self.sent_bytes += len(said)
            is_there = self._strike_before in said if self._strike_before else self.passed >= self._strike_at
            if self._strike is not None and is_there:
                strike, self._strike = self._strike, None
                strike()
