"""A supervisor of real worker processes, whose log is read line by line, and whole caches in front of an upstream."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import RunningCache

SUPERVISED = Path(__file__).with_name("supervised.py")
CONFIG = """\
[server]
listen = "{listen}"
workers = 2
drain = "{drain}"
[storage]
directory = "{directory}"
[log]
format = "json"
level = "debug"
[upstreams."docker.io"]
fresh_for = "5m"
"""


class Supervised:
    """A running supervisor."""

    def __init__(self, process: subprocess.Popen[str], config: Path) -> None:
        self.process = process
        self.config = config
        self.port = 0
        self._opened: list[http.client.HTTPConnection] = []

    def wait_for(self, event: str) -> dict[str, object]:
        """Return the first record from now on whose event begins so."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            record: dict[str, object] = json.loads(line)
            if str(record["event"]).startswith(event):
                return record
        raise AssertionError(f"the supervisor ended without {event!r}")

    def wait_until_serving(self) -> None:
        self.port = int(str(self.wait_for("listening on")["event"]).rpartition(":")[2])

    def workers(self) -> list[int]:
        return list(map(int, Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()))

    def get(self, path: str = "/") -> tuple[int, str]:
        """Ask on a new connection, as docker does."""
        with self.open(path).getresponse() as response:
            return response.status, response.read().decode()

    def open(self, path: str) -> http.client.HTTPConnection:
        """Send a request on a new connection, which stays until the end of the test."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        self._opened.append(connection)
        connection.request("GET", path)
        return connection

    def begin_transfer(self) -> http.client.HTTPResponse:
        """Return a response that ends when the worker drains."""
        response = self.open("/transfer").getresponse()
        assert response.readline() == b"begun\n"
        return response

    def close(self) -> None:
        self.process.kill()  # its workers see that and end
        self.process.communicate()
        for connection in self._opened:
            connection.close()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a supervisor in a mode of `supervised.py`; it is gone after the test."""
    started: list[Supervised] = []

    def start(mode: str = "healthy", *, drain: str = "5s", listen: str = "127.0.0.1:0") -> Supervised:
        config = tmp_path / "proxycache.toml"
        config.write_text(CONFIG.format(drain=drain, listen=listen, directory=tmp_path))
        command = [sys.executable, str(SUPERVISED), mode, str(config)]
        environment = {**os.environ, "PYTHONPATH": str(SUPERVISED.parents[2]), "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(Supervised(process, config))
        return started[-1]

    yield start
    for supervised in started:
        supervised.close()


@pytest.fixture
def upstream() -> Iterator[ThreadedRegistry]:
    """The registry that stands for docker.io."""
    with ThreadedRegistry() as registry:
        yield registry


@pytest.fixture
def cache(tmp_path: Path, upstream: ThreadedRegistry) -> Iterator[RunningCache]:
    """A running cache with two workers."""
    with RunningCache(tmp_path, upstream.url) as cache:
        yield cache
