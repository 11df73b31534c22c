"""dockerd with its classic image store, and the current one with containerd's.

The daemon runs in mount and process namespaces of its own: its /etc/docker is the test's, and nothing of it can
outlive the test.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.clients.docker_api import DockerApi
from tests.clients.services import Service, running
from tests.clients.tools import (
    CURRENT_PATH,
    SYSTEM_PATH,
    find_current_tool,
    find_tool,
    missing,
    require_root,
)

_IN_NAMESPACES = 'mkdir -p /etc/docker && mount --bind "$0" /etc/docker && exec "$@"'


class Dockerd(DockerApi):
    """A daemon that runs for a test."""

    service: Service

    def kill(self) -> None:
        """SIGKILL it and all that it has started."""
        self.service.process.kill()  # the first process of the namespace dies with it, and so all others
        self.service.process.wait()


@contextlib.contextmanager
def dockerd(directory: Path, options: list[str], *, program: str, path: str) -> Iterator[Dockerd]:
    require_root()
    settings, socket = directory / "etc", directory / "sock"
    settings.mkdir(exist_ok=True)
    unshare = [find_tool("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command: list[str | Path] = [*unshare, "sh", "-c", _IN_NAMESPACES, settings, program]
    command += ["--data-root", directory / "data", "--exec-root", directory / "exec", "--pidfile", directory / "pid"]
    command += ["-H", f"unix://{socket}", "--iptables=false", "--bridge=none", *options]
    docker, log = Dockerd(socket), directory / "log"
    with running(command, address="", log=log, is_ready=docker.answers, environment={"PATH": path}) as docker.service:
        yield docker


@contextlib.contextmanager
def classic_dockerd(directory: Path, *options: str) -> Iterator[Dockerd]:
    for needed in ("containerd", "runc"):
        find_tool(needed)
    with dockerd(directory, list(options), program=find_tool("dockerd"), path=SYSTEM_PATH) as docker:
        if docker.uses_containerd_store():
            missing("the installed dockerd has no classic image store any more")
        yield docker


@contextlib.contextmanager
def current_dockerd(directory: Path, *options: str) -> Iterator[Dockerd]:
    for needed in ("containerd", "containerd-shim-runc-v2"):
        find_current_tool(needed)
    find_tool("runc")
    program, ours = find_current_tool("dockerd"), ["--ip6tables=false", *options]
    with dockerd(directory, ours, program=program, path=CURRENT_PATH) as docker:
        assert docker.uses_containerd_store()
        yield docker
