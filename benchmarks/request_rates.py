"""Clients that ask often: requests per second by wrk, and the latency of single requests."""

import contextlib
import http.client
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.downloads import WrongAnswer
from benchmarks.origin import MANIFEST_TYPE
from benchmarks.processes import Server, SubjectAbsent

_ROTATE = Path(__file__).with_name("rotate.lua")
_ENOUGH_LATENCIES = 20


class Client(http.client.HTTPConnection):
    """A connection that asks for one thing after another."""

    def __init__(self, server: Server) -> None:
        super().__init__("127.0.0.1", server.port, timeout=60)
        self._name = server.name

    def ask(self, path: str) -> None:
        self.request("GET", path, headers={"Accept": MANIFEST_TYPE})
        try:
            answer = self.getresponse()
            answer.read()
        except http.client.HTTPException as error:
            raise WrongAnswer(f"{self._name} {path}: {error!r}") from error
        if answer.status != http.HTTPStatus.OK:
            raise WrongAnswer(f"{self._name} {path}: {answer.status}")


def requests_per_second(server: Server, paths: Sequence[str], *, connections: int, seconds: int) -> float:
    """Ask for `paths` in turn over kept connections. Raises WrongAnswer if anything but a success came back."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SubjectAbsent("wrk is not installed")
    with tempfile.NamedTemporaryFile("w") as path_list:
        path_list.write("".join(f"{path}\n" for path in paths))
        path_list.flush()
        shape = ["--threads=1", f"--connections={connections}", f"--duration={seconds}s", f"--script={_ROTATE}"]
        printed = subprocess.run(
            [wrk, *shape, f"http://127.0.0.1:{server.port}"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PATHS": path_list.name, "ACCEPT": MANIFEST_TYPE},
        ).stdout
    counted = next(line for line in printed.splitlines() if line.startswith("rotated "))
    answered, microseconds, failures = (int(word) for word in counted.split()[1:])
    if failures or not answered:
        raise WrongAnswer(f"{server.name}: {failures} of {answered} requests failed")
    return answered / (microseconds / 1e6)


def visit(server: Server, paths: Sequence[str]) -> None:
    """Ask for each path once, one after another."""
    with contextlib.closing(Client(server)) as client:
        for path in paths:
            client.ask(path)


@contextlib.contextmanager
def keep_clients(server: Server, path: str, *, count: int) -> Iterator[list[Client]]:
    """Connections that have asked for `path` once and are kept open."""
    with contextlib.ExitStack() as kept:
        clients = [kept.enter_context(contextlib.closing(Client(server))) for _ in range(count)]
        for client in clients:
            client.ask(path)
        yield clients


def latencies_while(clients: Sequence[Client], path: str, is_going_on: Callable[[], bool]) -> list[float]:
    """Seconds of single requests, one after another through the clients in turn, for as long as `is_going_on`."""
    seconds: list[float] = []
    turns = itertools.cycle(clients)
    while is_going_on():
        began = time.monotonic()
        next(turns).ask(path)
        seconds.append(time.monotonic() - began)
        time.sleep(0.001)
    if len(seconds) < _ENOUGH_LATENCIES:
        raise WrongAnswer(f"only {len(seconds)} requests were answered while something went on")
    return seconds
