"""A dockerd with an empty image store that pulls through one mirror, in mount and process namespaces of its own.

Nothing of it outlives the block, and its /etc/docker is an empty one.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.downloads import WrongAnswer
from benchmarks.processes import Server, SubjectAbsent, run

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NEEDED = ("unshare", "containerd", "runc")
_IN_NAMESPACES = 'mount --bind "$0" /etc/docker && exec "$@"'


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Docker:
    """The daemon behind one socket, asked by its API: a command line may not fit its version, or not be there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def answers(self) -> bool:
        try:
            return self._ask("GET", "/_ping") == b"OK"
        except OSError:
            return False

    def pull(self, name: str, tag: str) -> None:
        """Pull an image. Raises WrongAnswer with the daemon's own words if it does not come."""
        lines = self._ask("POST", f"/images/create?{urlencode({'fromImage': name, 'tag': tag})}").splitlines()
        errors = [event["error"] for event in map(json.loads, lines) if "error" in event]
        if errors:
            raise WrongAnswer(f"docker pull {name}:{tag}: {errors[0]}")

    def _ask(self, method: str, path: str) -> bytes:
        with contextlib.closing(_Connection(self._path)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            received = answer.read()
        if answer.status != HTTPStatus.OK:
            raise WrongAnswer(f"docker {method} {path}: {answer.status}")
        return received


@contextlib.contextmanager
def dockerd(mirror: Server) -> Iterator[Docker]:
    """Run Debian's dockerd with `mirror` in front of Docker Hub. Raises SubjectAbsent where it cannot run."""
    program = shutil.which("dockerd", path=_SYSTEM_PATH)
    if program is None:
        raise SubjectAbsent("docker pull not measured: no dockerd")
    if os.geteuid() != 0:
        raise SubjectAbsent("docker pull not measured: dockerd needs root")
    if missing := [name for name in _NEEDED if shutil.which(name, path=_SYSTEM_PATH) is None]:
        raise SubjectAbsent(f"docker pull not measured: no {missing[0]}, which dockerd needs")
    with tempfile.TemporaryDirectory(prefix="pc-") as name:  # short enough for the path of a socket
        directory = Path(name)
        (directory / "etc").mkdir()
        Path("/etc/docker").mkdir(exist_ok=True)
        docker = Docker(directory / "sock")
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _IN_NAMESPACES]
        command += [str(directory / "etc"), program, "--data-root", str(directory / "data")]
        command += ["--exec-root", str(directory / "exec"), "--pidfile", str(directory / "pid")]
        command += ["-H", f"unix://{directory / 'sock'}", "--iptables=false", "--bridge=none"]
        command += ["--registry-mirror", f"http://127.0.0.1:{mirror.port}"]
        environment = {"PATH": _SYSTEM_PATH}
        with run("dockerd", command, answers=docker.answers, log=directory / "log", environment=environment):
            yield docker
