"""Clients that push images over plain sockets: bodies go by sendfile, so that the client computes next to nothing.

`as_docker`: HEAD, POST, a chunked PATCH, PUT, HEAD for each blob. `as_containerd` (BuildKit too): HEAD, POST, PUT with
Content-Length.
"""

import contextlib
import os
import queue
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import urlsplit

from benchmarks.bench import Bench, Samples
from benchmarks.downloads import WrongAnswer
from benchmarks.images import Image, Part
from benchmarks.origin import MANIFEST_TYPE
from benchmarks.peers import Subject
from benchmarks.processes import Server

_CHUNK_SIZE = 32 * 1024  # what Go's HTTP client copies at a time
_GIVES_UP_AFTER = struct.pack("ll", 120, 0)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]


class Connection:
    """A kept connection to a registry, on which one request follows the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for timeout in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # Python's own would make the socket non-blocking
            self._socket.setsockopt(socket.SOL_SOCKET, timeout, _GIVES_UP_AFTER)
        self._received = b""

    def close(self) -> None:
        self._socket.close()

    def has(self, path: str) -> bool:
        self._send_head("HEAD", path, {})
        answer = self._receive(has_body=False)
        return answer.status == HTTPStatus.OK

    def begin_upload(self, repository: str) -> str:
        self._send_head("POST", f"/v2/{repository}/blobs/uploads/", {"Content-Length": "0"})
        return self._location(HTTPStatus.ACCEPTED, "POST")

    def patch_chunked(self, location: str, part: Part) -> str:
        self._send_head("PATCH", location, {"Transfer-Encoding": "chunked"}, is_more=True)
        with part.content.open("rb") as file:
            for begin in range(0, part.size, _CHUNK_SIZE):
                size = min(_CHUNK_SIZE, part.size - begin)
                self._socket.sendall(b"%x\r\n" % size, socket.MSG_MORE)
                self._send_file(file.fileno(), part.offset + begin, size)
                self._socket.sendall(b"\r\n", socket.MSG_MORE)
        self._socket.sendall(b"0\r\n\r\n")
        return self._location(HTTPStatus.ACCEPTED, "PATCH")

    def finish_upload(self, location: str, digest: str) -> None:
        self._send_head("PUT", _with_digest(location, digest), {"Content-Length": "0"})
        self._location(HTTPStatus.CREATED, "PUT")

    def put_blob(self, location: str, part: Part) -> None:
        headers = {"Content-Length": str(part.size), "Content-Type": "application/octet-stream"}
        self._send_head("PUT", _with_digest(location, part.digest), headers, is_more=True)
        with part.content.open("rb") as file:
            self._send_file(file.fileno(), part.offset, part.size)
        self._location(HTTPStatus.CREATED, "PUT")

    def put_manifest(self, path: str, manifest: bytes) -> None:
        headers = {"Content-Type": MANIFEST_TYPE, "Content-Length": str(len(manifest))}
        self._send_head("PUT", path, headers, is_more=True)
        self._socket.sendall(manifest)
        self._location(HTTPStatus.CREATED, "PUT of the manifest")

    def _send_head(self, method: str, path: str, headers: dict[str, str], *, is_more: bool = False) -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._server.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode(), socket.MSG_MORE if is_more else 0)

    def _send_file(self, descriptor: int, offset: int, size: int) -> None:
        end = offset + size
        while offset < end:
            offset += os.sendfile(self._socket.fileno(), descriptor, offset, end - offset)

    def _location(self, status: HTTPStatus, what: str) -> str:
        answer = self._receive()
        if answer.status != status:
            raise WrongAnswer(f"{self._server.name}: {answer.status} to {what}")
        location = urlsplit(answer.headers["location"])
        return f"{location.path}?{location.query}" if location.query else location.path

    def _receive(self, *, has_body: bool = True) -> _Answer:
        while b"\r\n\r\n" not in self._received:
            self._receive_more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0)) if has_body else 0
        while len(self._received) < size:
            self._receive_more()
        self._received = self._received[size:]
        return _Answer(int(status.split(" ")[1]), headers)

    def _receive_more(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            raise WrongAnswer(f"{self._server.name}: closed without an answer")
        self._received += received


PushBlob: TypeAlias = Callable[[Connection, str, Part], None]


def as_docker(connection: Connection, repository: str, part: Part) -> None:
    path = f"/v2/{repository}/blobs/{part.digest}"
    if connection.has(path):
        raise WrongAnswer(f"{path} is there before it is pushed")
    connection.finish_upload(connection.patch_chunked(connection.begin_upload(repository), part), part.digest)
    if not connection.has(path):
        raise WrongAnswer(f"{path} is not there after it was pushed")


def as_containerd(connection: Connection, repository: str, part: Part) -> None:
    path = f"/v2/{repository}/blobs/{part.digest}"
    if connection.has(path):
        raise WrongAnswer(f"{path} is there before it is pushed")
    connection.put_blob(connection.begin_upload(repository), part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """An image on its way into a repository of its own: `at_once` blobs at a time, each as `push_blob` does it."""

    image: Image
    repository: str
    push_blob: PushBlob
    at_once: int = 1


def push_together(server: Server, pushes: Sequence[Push]) -> float:
    """Push all at the same time; return the seconds from the first request to the last answer."""
    with contextlib.ExitStack() as opened:
        connections = [_connect(server, push.at_once, opened) for push in pushes]
        jobs = [partial(_push, push, own) for push, own in zip(pushes, connections, strict=True)]
        began = time.monotonic()
        _run_together(jobs)
        return time.monotonic() - began


def measure_pushes(
    bench: Bench, subjects: Sequence[Subject], pushes: Sequence[Sequence[Push]], samples: Samples
) -> None:
    """Interleaved runs of `pushes`, one element a run; the first one only warms the servers up."""
    remaining: dict[str, Iterator[Sequence[Push]]] = {}

    def warm(server: Server) -> None:
        remaining[server.name] = iter(pushes)
        push_together(server, next(remaining[server.name]))

    with bench.all_warm(subjects, None, samples, warm) as servers:
        bench.measure_warm(servers, samples, lambda server: push_together(server, next(remaining[server.name])))


def _connect(server: Server, count: int, opened: contextlib.ExitStack) -> list[Connection]:
    return [opened.enter_context(contextlib.closing(Connection(server))) for _ in range(count)]


def _push(push: Push, connections: Sequence[Connection]) -> None:
    waiting: queue.SimpleQueue[Part] = queue.SimpleQueue()
    for layer in push.image.layers:
        waiting.put(layer)

    def push_some(connection: Connection) -> None:
        for part in _taken_from(waiting):
            push.push_blob(connection, push.repository, part)

    _run_together([partial(push_some, connection) for connection in connections])
    push.push_blob(connections[0], push.repository, push.image.config)
    connections[0].put_manifest(f"/v2/{push.repository}/manifests/latest", push.image.manifest)


def _taken_from(waiting: "queue.SimpleQueue[Part]") -> Iterator[Part]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield waiting.get_nowait()


def _run_together(jobs: Sequence[Callable[[], None]]) -> None:
    """Run each job in a thread, all of them at once; raise what the first one raised that failed."""
    with ThreadPoolExecutor(len(jobs)) as threads:
        for running in [threads.submit(job) for job in jobs]:
            running.result()


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"
