"""An upstream with one line of limited bandwidth for everybody, which counts what it sends and notes when."""

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import BinaryIO

from benchmarks.origin import Tree

_PIECE_SIZE = 64 << 10


class PacedOrigin(http.server.ThreadingHTTPServer):
    """Serves a tree's blobs at `rate` bytes per second in all. Read its figures only when nothing is in flight."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, tree: Tree, *, rate: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tree = tree
        self.body_bytes = 0
        self.first_byte_at = 0.0
        self._seconds_per_byte = 1 / rate
        self._line = threading.Lock()
        self._line_free_at = 0.0

    def forget_figures(self) -> None:
        self.body_bytes = 0
        self.first_byte_at = 0.0

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave; whatever is wrong shows at the other end."""

    def wait_for_line(self, size: int) -> None:
        """Take the line for `size` bytes; return when they may be sent."""
        with self._line:
            begins_at = max(time.monotonic(), self._line_free_at)
            self._line_free_at = begins_at + size * self._seconds_per_byte
            self.body_bytes += size
            self.first_byte_at = self.first_byte_at or begins_at
        time.sleep(max(0.0, begins_at - time.monotonic()))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PacedOrigin
    wbufsize = 1 << 16  # headers leave with one write

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, *, with_body: bool) -> None:
        source = self.server.tree.file_of(self.path)
        if source.is_file():
            size = source.stat().st_size
            self._send_headers(HTTPStatus.OK, size, digest=source.name)
            if with_body:
                with source.open("rb") as file, contextlib.suppress(ConnectionError):
                    self._send_paced(file)
        elif self.path == "/v2/":
            self._send_headers(HTTPStatus.OK, 0)
        else:
            self._send_headers(HTTPStatus.NOT_FOUND, 0)

    def _send_headers(self, status: HTTPStatus, size: int, *, digest: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Type", "application/octet-stream")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        self.wfile.flush()

    def _send_paced(self, file: BinaryIO) -> None:
        while piece := file.read(_PIECE_SIZE):
            self.server.wait_for_line(len(piece))
            self.connection.sendall(piece)


@contextlib.contextmanager
def paced_origin(tree: Tree, *, rate: int) -> Iterator[PacedOrigin]:
    with PacedOrigin(tree, rate=rate) as origin:
        thread = threading.Thread(target=origin.serve_forever, daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            origin.shutdown()
            thread.join()
