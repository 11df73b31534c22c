"""Servers as child processes: started in a group of their own, waited for until they answer, ended by id."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_ANSWERS_WITHIN_SECONDS = 20.0
_ENDS_WITHIN_SECONDS = 12.0


class SubjectAbsent(Exception):
    """A subject cannot be measured here; the text says why in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running subject. `started_in_seconds` is from the start of its process to its first answer."""

    name: str
    port: int
    pid: int
    started_in_seconds: float


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def serve(name: str, command: list[str], *, port: int, log: Path, environment: dict[str, str]) -> Iterator[Server]:
    """Run `command` until the block is left; what it prints goes to `log`. Raises SubjectAbsent if it never answers."""
    began = time.monotonic()
    with run(name, command, answers=lambda: _answers(port), log=log, environment=environment) as pid:
        yield Server(name=name, port=port, pid=pid, started_in_seconds=time.monotonic() - began)


@contextlib.contextmanager
def run(
    name: str, command: list[str], *, answers: Callable[[], bool], log: Path, environment: dict[str, str]
) -> Iterator[int]:
    """Run `command` from when it `answers` to the end of the block; yield its process id. Raises as `serve`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=log.parent,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        _wait_for_answer(name, process, answers, log)
        yield process.pid
    finally:
        _end(process)


def _wait_for_answer(name: str, process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _ANSWERS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SubjectAbsent(f"{name} ended with {process.returncode}: {_last_line(log)}")
        if answers():
            return
        time.sleep(0.005)
    raise SubjectAbsent(f"{name} did not answer in {_ANSWERS_WITHIN_SECONDS:.0f} s: {_last_line(log)}")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the group: politely through its leader, then whatever is left of it."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ENDS_WITHIN_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def worker_pids(pid: int) -> list[int]:
    """The processes that serve: the children of a supervisor, or the process itself where it has none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] or [pid]


def cpu_seconds(pid: int) -> float:
    """What the process has computed so far, in the system as well."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return _status_bytes(pid, "VmRSS")


def peak_resident_bytes(pid: int) -> int:
    return _status_bytes(pid, "VmHWM")


def _status_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kibibytes: str = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kibibytes) << 10
