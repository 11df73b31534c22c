"""A real `proxycache serve` with its worker processes, and connections of which one knows which worker has them."""

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proxycache.oci.digest import digest_of, parse_digest
from proxycache.store.layout import Layout
from proxycache.store.spool_record import Progress, SpoolRecord, SpoolState

REPOSITORY = Path(__file__).parents[2]
NAME = "library/alpine"
PATIENCE_SECONDS = 20.0
_DEAD_STATES = "ZX"  # of /proc/PID/stat (proc(5))
CONFIG = """\
[server]
listen = "127.0.0.1:{port}"
workers = 2
drain = "{drain}"
{server}
[storage]
directory = "{directory}"
[log]
format = "json"
level = "{level}"
[upstreams."docker.io"]
url = "{upstream}"
{more}
"""


def wait_until(is_true: Callable[[], Any], what: str, *, within_seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until it is so; AssertionError if that takes too long."""
    deadline = time.monotonic() + within_seconds
    while not is_true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client got; `is_complete`: the body ended where its headers said."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_complete: bool


class Connection:
    """One client's connection; `worker` is the process that has it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        if tls is not None:
            self.http = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS, context=tls)
        self.http.connect()
        self.worker = 0
        self._response: http.client.HTTPResponse | None = None

    def send(self, path: str, *, method: str = "GET", **headers: str) -> None:
        """Send the request and wait for nothing."""
        self.http.request(method, path, headers=headers)
        self._response = None

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> int:
        """Send the request and return the status; the body is still to come."""
        self.send(path, method=method, **headers)
        return self.receive()

    def receive(self) -> int:
        """Wait for the headers of what was sent, and return the status."""
        self._response = self.http.getresponse()
        return self._response.status

    def read(self, size: int | None = None) -> bytes:
        """Return what comes of the body: `size` bytes, or all."""
        assert self._response is not None
        return self._response.read(size)

    def finish(self, *, begun: bytes = b"") -> Answer:
        """Read the rest; a body that is cut is what came of it."""
        if self._response is None:
            self.receive()
        response = self._response
        assert response is not None
        try:
            rest, is_complete = response.read(), True
        except http.client.IncompleteRead as cut:
            rest, is_complete = cut.partial, False
        except ConnectionError:
            rest, is_complete = b"", False
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=begun + rest, is_complete=is_complete)

    def get(self, path: str, **headers: str) -> Answer:
        """Ask and read all."""
        self.ask(path, **headers)
        return self.finish()

    def close(self) -> None:
        self.http.close()


class RunningCache:
    """The process tree; what it does not do itself to its children, `kill` and `signal` do by pid."""

    def __init__(
        self, directory: Path, upstream: str, *, more: str = "", tls: ssl.SSLContext | None = None, **changes: object
    ) -> None:
        """Write the configuration; `changes` are to port, drain, level and server, `more` says more of the upstream."""
        self.layout = Layout(directory / "data")
        self.records: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._config = directory / "proxycache.toml"
        settings = {"port": 0, "drain": "8s", "level": "info", "server": "", **changes}
        self._config.write_text(
            CONFIG.format(directory=self.layout.directory, upstream=upstream, more=more, **settings)
        )
        self._connections: list[Connection] = []
        self._tls = tls
        self.port = 0

    # --- life ---

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill_all()

    def start(self) -> None:
        """Start, and wait until all workers serve."""
        self._lines, self.records = [], []
        self.process = self.spawn()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            event = str(self.wait_for_log("listening on")["event"])
        except BaseException:
            self.kill_all()
            raise
        self.port = int(event.rpartition(":")[2])

    def spawn(self) -> "subprocess.Popen[str]":
        """Only start the process."""
        command = [sys.executable, "-m", "proxycache", "serve", "--config", str(self._config)]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def run(self) -> tuple[int, list[str]]:
        """Start what is expected to end by itself; return the exit code and the lines that it printed."""
        with self.spawn() as process:
            try:
                printed, _ = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
        return process.returncode, printed.splitlines()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            with contextlib.suppress(ValueError):
                self.records.append(json.loads(line))

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def wait_for_log(self, event: str, **facts: object) -> dict[str, Any]:
        """Return the first record since the start whose event begins so and that has these facts."""

        def find() -> dict[str, Any] | None:
            for record in list(self.records):
                if str(record["event"]).startswith(event) and facts.items() <= record.items():
                    return record
            assert self.process.poll() is None, self.log
            return None

        wait_until(find, f"{event} {facts} in {self.log}")
        found = find()
        assert found is not None
        return found

    def reload(self, before: str = "", after: str = "") -> None:
        """Send SIGHUP to the supervisor, with `after` in place of `before` in the configuration."""
        self._config.write_text(self._config.read_text().replace(before, after))
        self.process.send_signal(signal.SIGHUP)

    def terminate(self) -> int:
        """Send SIGTERM to the supervisor and return the exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    def kill_all(self) -> None:
        """SIGKILL every process of the tree, as a power cut does."""
        pids = [*self.workers(), self.process.pid]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    # --- workers ---

    def workers(self) -> list[int]:
        """Return the workers, the oldest first; not one that has died and that its supervisor has not yet buried."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return sorted(filter(_is_alive, map(int, children.read_text().split())), key=_started_at)
        except (FileNotFoundError, ProcessLookupError):
            return []

    def wait_for_workers(self, count: int = 2) -> list[int]:
        """Wait until so many run, and return them."""
        wait_until(lambda: len(self.workers()) == count, f"{count} workers")
        return self.workers()

    # --- clients ---

    def connect(self, worker: int | None = None) -> Connection:
        """Open a connection, which is that worker's if one is named: the others are stopped for a moment."""
        others = [pid for pid in self.workers() if worker is not None and pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            connection = Connection(self.port, self._tls)
            self._connections.append(connection)
            wait_until(lambda: self._find_worker(connection), "a worker accepts")
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
        assert worker in (None, connection.worker)
        return connection

    def connect_each(self, per_worker: int) -> list[Connection]:
        """Open so many connections at each worker, in turns."""
        return [self.connect(worker) for _ in range(per_worker) for worker in self.wait_for_workers()]

    def get(self, path: str, **headers: str) -> Answer:
        """Ask on a new connection, as docker does."""
        connection = Connection(self.port, self._tls)
        self._connections.append(connection)
        return connection.get(path, **headers)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels, over all workers."""
        total = 0.0
        for line in self.get("/-/metrics").body.decode().splitlines():
            sample, _, number = line.rpartition(" ")
            found, _, rest = sample.partition("{")
            if found == name and all(f'{key}="{text}"' in rest for key, text in labels.items()):
                total += float(number)
        return total

    def wait_until_asked(self, count: int) -> None:
        """Wait until so many requests have come to where only the fill, or its upstream, lets them go on."""
        wait_until(lambda: self.metric("proxycache_in_flight_requests") > count, f"{count} requests")
        for worker in self.workers() * 2:
            self.connect(worker).get("/v2/_catalog")  # the rows that they look for are read in turn, before these

    def _find_worker(self, connection: Connection) -> bool:
        """Find out who accepted it: whose socket has the connection's two ports."""
        inode = _find_inode(self.port, connection.http.sock.getsockname()[1])
        for pid in self.workers():
            if inode is not None and f"socket:[{inode}]" in _open_files(pid):
                connection.worker = pid
        return bool(connection.worker)

    # --- disk ---

    def progress(self, digest: str) -> Progress | None:
        """Return how far the fill is, as its record says; None if there is no record."""
        path = self.layout.spool_record(parse_digest(digest))
        if not path.exists():
            return None
        record = SpoolRecord(path)
        try:
            return record.progress()
        finally:
            record.close()

    def wait_until_written(self, digest: str, size: int) -> int:
        """Wait until so much of a blob is in its spool, or all is published; return how much there is."""
        written = 0

        def is_there() -> bool:
            nonlocal written
            progress = self.progress(digest)
            written = progress.written if progress else 0
            return written >= size or self.has_blob(digest)

        wait_until(is_there, f"{size} bytes of {digest}")
        return written

    def wait_for_rows(self, sql: str, count: int) -> None:
        """Wait until a query finds so many rows."""

        def find() -> bool:
            with contextlib.closing(sqlite3.connect(self.layout.database)) as database:
                return len(database.execute(sql).fetchall()) >= count

        wait_until(find, f"{count} of {sql}")

    def has_blob(self, digest: str) -> bool:
        return self.layout.blob(parse_digest(digest)).exists()

    def wait_until_published(self, digest: str) -> None:
        wait_until(lambda: self.has_blob(digest) and self.progress(digest) is None, f"{digest} published")

    def check_blobs(self) -> int:
        """Check that every blob is what its name says; return how many there are."""
        files = [path for path in self.layout.blobs.rglob("*") if path.is_file()]
        for path in files:
            assert digest_of(path.read_bytes()).encoded == path.name
        return len(files)


def blob_path(digest: str) -> str:
    return f"/v2/{NAME}/blobs/{digest}"


def manifest_path(reference: str) -> str:
    return f"/v2/{NAME}/manifests/{reference}"


def leave_spool(layout: Layout, digest: str, content: bytes, *, size: int | None, state: SpoolState) -> None:
    """Leave what a worker leaves that was killed in the middle of a fill."""
    layout.prepare()
    layout.spool_data(parse_digest(digest)).write_bytes(content)
    record = SpoolRecord(layout.spool_record(parse_digest(digest)))
    record.begin_attempt(time.monotonic(), fetched_for=bytes(32), written=len(content))
    record.set_filling(size)
    if state is SpoolState.VERIFIED:
        record.set_verified()
    record.close()


def _is_alive(pid: int) -> bool:
    return _stat_fields(pid)[0] not in _DEAD_STATES


def _started_at(pid: int) -> int:
    return int(_stat_fields(pid)[19])


def _stat_fields(pid: int) -> list[str]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["X"] + ["0"] * 49


def _find_inode(local_port: int, remote_port: int) -> str | None:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
        if ports == [local_port, remote_port]:
            return fields[9]
    return None


def _open_files(pid: int) -> Iterator[str]:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(path)
