"""Processes that a test needs beside it: started on free ports, waited for, and gone when the test ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clients.tools import SYSTEM_PATH, find_tool

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running process that listens at an address."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def stop(self) -> None:
        """End the process and all of its group, kindly first."""
        _signal_group(self.process, signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(self.process, signal.SIGKILL)
            self.process.wait()
            raise


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    address: str,
    log: Path,
    is_ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """Run a server in a process group of its own from when it is ready to the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, "PATH": SYSTEM_PATH, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = Service(address=address, process=process, log=log)
    try:
        _wait_until(is_ready, service)
        yield service
    finally:
        if process.poll() is None:
            service.stop()
        sys.stdout.write(
            f"--- {log}:\n{log.read_text(errors='replace')[-4000:]}\n"
        )  # pytest shows it if the test fails


def free_address() -> str:
    """Return a loopback address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def answers(url: str) -> bool:
    """Tell whether a GET of the URL succeeds now."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextlib.contextmanager
def docker_registry(directory: Path, log: Path, *, address: str = "") -> Iterator[Service]:
    """Run Debian's docker-registry over a directory, at a free address if none is given."""
    address = address or free_address()
    settings = log.with_suffix(".yml")
    settings.write_text(
        "version: 0.1\n"
        "log: {level: warn, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{directory}'}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    command: list[str | Path] = [find_tool("docker-registry"), "serve", settings]
    with running(command, address=address, log=log, is_ready=lambda: answers(f"http://{address}/v2/")) as service:
        yield service


@contextlib.contextmanager
def proxycache(
    directory: Path, upstreams: Mapping[str, Service], *, workers: int = 2, more: str = ""
) -> Iterator[Service]:
    """Run the cache in front of these registries, by the hosts that they stand for; `more` are further sections.

    Tags of ghcr.io are never fresh: with the upstream stopped they must be served stale.
    """
    address, settings = free_address(), directory / "proxycache.toml"
    fresh_for = {"ghcr.io": "0s"}
    sections = [
        f'[upstreams."{host}"]\nurl = "{service.url}"\nfresh_for = "{fresh_for.get(host, "5m")}"\n'
        for host, service in upstreams.items()
    ]
    settings.write_text(
        f'[server]\nlisten = "{address}"\nworkers = {workers}\n'
        f'[storage]\ndirectory = "{directory / "data"}"\n'
        f"{''.join(sections)}{more}"
    )
    command: list[str | Path] = [sys.executable, "-m", "proxycache", "serve", "--config", settings]
    log, ready = directory / "proxycache.log", f"http://{address}/-/ready"
    with running(command, address=address, log=log, is_ready=lambda: answers(ready)) as service:
        yield service


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _wait_until(is_ready: Callable[[], bool], service: Service) -> None:
    give_up_at = time.monotonic() + _START_SECONDS
    while not is_ready():
        if service.process.poll() is not None or time.monotonic() > give_up_at:
            said = service.log.read_text(errors="replace")[-3000:]
            message = f"{service.process.args!r} is not ready:\n{said}"
            raise RuntimeError(message)
        time.sleep(0.05)
