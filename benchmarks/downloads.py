"""Clients that read bodies: one alone, many together, slow ones. They count bytes and keep none."""

import contextlib
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from benchmarks.processes import Server

_RECEIVE_SIZE = 1 << 20
_BIN = bytearray(_RECEIVE_SIZE)  # whatever anybody receives goes here
_SLOW_TICK_SECONDS = 0.05


class WrongAnswer(Exception):
    """A subject answered with something else than the whole content."""


class Download:
    """One GET on a connection of its own, read by whoever calls `receive`.

    With `is_discarding` the kernel drops the body instead of copying it: many clients fit beside what they measure.
    """

    def __init__(self, server: Server, path: str, *, is_discarding: bool = False, receive_buffer: int = 0) -> None:
        self.began_at = time.monotonic()
        self.first_byte_at = 0.0
        self.ended_at = 0.0
        self.socket = socket.socket()
        self._what = f"{server.name} {path}"
        self._head = b""
        self._missing: int | None = None
        self._flags = socket.MSG_TRUNC if is_discarding else 0
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode()
        )

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at

    def receive(self, size: int = _RECEIVE_SIZE) -> bool:
        """Receive once, at most `size` bytes; True when the body is complete. Raises WrongAnswer."""
        if self._missing is None:
            self._receive_head()
        else:
            self._missing -= self._count(self.socket.recv_into(_BIN, min(size, _RECEIVE_SIZE), self._flags))
        if self._missing == 0:
            self.ended_at = time.monotonic()
        return self._missing == 0

    def _receive_head(self) -> None:
        received = self.socket.recv(4096)
        self._head += received
        head, blank, body = self._head.partition(b"\r\n\r\n")
        if not received:
            raise WrongAnswer(f"{self._what}: closed without an answer")
        if not blank:
            return
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if status.split(" ")[1] != "200" or "content-length" not in headers:
            raise WrongAnswer(f"{self._what}: {status}, length {headers.get('content-length')}")
        self._missing = int(headers["content-length"])
        if body:
            self._missing -= self._count(len(body))

    def _count(self, received: int) -> int:
        if received == 0:
            raise WrongAnswer(f"{self._what}: cut with {self._missing} bytes missing")
        self.first_byte_at = self.first_byte_at or time.monotonic()
        return received


def download(server: Server, path: str) -> Download:
    """Receive one body whole, copied as by a client that keeps it."""
    one = Download(server, path)
    with one.socket:
        while not one.receive():
            pass
    return one


def download_together(server: Server, paths: Sequence[str]) -> list[Download]:
    """Receive every path at the same time, each on a connection of its own, from one thread."""
    with contextlib.ExitStack() as sockets, selectors.DefaultSelector() as selector:
        downloads = [Download(server, path, is_discarding=True) for path in paths]
        for one in downloads:
            sockets.enter_context(one.socket).settimeout(0)
            selector.register(one.socket, selectors.EVENT_READ, one)
        while selector.get_map():
            for key, _ in selector.select():
                if key.data.receive():
                    selector.unregister(key.fileobj)
    return downloads


def download_slowly(server: Server, paths: Sequence[str], *, rate: int) -> Iterator[None]:
    """Receive every path at the same time, each at `rate` bytes per second, yielding about once a second."""
    piece = int(rate * _SLOW_TICK_SECONDS)
    with contextlib.ExitStack() as sockets:
        unfinished = [Download(server, path, is_discarding=True, receive_buffer=64 << 10) for path in paths]
        for one in unfinished:
            sockets.enter_context(one.socket).settimeout(0)
        reported_at = time.monotonic()
        while unfinished:
            unfinished = [one for one in unfinished if not _receive_if_ready(one, piece)]
            now = time.monotonic()
            if now - reported_at >= 1:
                yield
                reported_at = now
            time.sleep(max(0.0, _SLOW_TICK_SECONDS - (time.monotonic() - now)))


def _receive_if_ready(one: Download, size: int) -> bool:
    try:
        return one.receive(size)
    except BlockingIOError:
        return False


@contextlib.contextmanager
def downloads_elsewhere(server: Server, paths: Sequence[str]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Receive every path at the same time in a curl each, so that this process is free to measure."""
    command = ["curl", "--silent", "--fail", "--output", "/dev/null"]
    clients = [subprocess.Popen([*command, f"http://127.0.0.1:{server.port}{path}"]) for path in paths]
    try:
        yield clients
        for client in clients:
            if client.wait(120) != 0:
                raise WrongAnswer(f"{server.name}: curl ended with {client.returncode}")
    finally:
        for client in clients:
            client.kill()
            client.wait()
