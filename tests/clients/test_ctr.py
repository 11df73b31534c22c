"""containerd by `ctr` and hosts.toml files, which send `ns`: Debian's version and the current one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import Image
from tests.clients.debian_image import gather_contents
from tests.clients.services import running
from tests.clients.tools import CURRENT_PATH, SYSTEM_PATH, find_current_tool, find_tool, require_root, run
from tests.clients.upstream_content import REPOSITORIES


class Ctr:
    """`ctr` of one containerd, which has storage of its own."""

    def __init__(self, program: str, socket: Path, hosts_directory: Path) -> None:
        self._command = [program, "--address", socket]
        self._hosts_directory = hosts_directory

    def pull(self, reference: str, *options: str) -> None:
        pull = ["images", "pull", "--hosts-dir", self._hosts_directory, *options]
        run([*self._command, *pull, reference])

    def check_contents(self, image: Image, directory: Path) -> None:
        """Compare everything of the image that containerd holds with what was built."""
        for digest, built in gather_contents(image).items():
            exported = directory / "content"
            run(["sh", "-c", '"$@" > "$0"', exported, *self._command, "content", "get", digest])
            assert exported.read_bytes() == built.body


@contextlib.contextmanager
def containerd(directory: Path, hosts_directory: Path, *, path: str) -> Iterator[Ctr]:
    require_root()
    find = find_current_tool if path == CURRENT_PATH else find_tool
    program, client, socket = find("containerd"), find("ctr"), directory / "sock"
    settings = directory / "config.toml"
    settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    command = [program, "--config", settings, "--address", socket]
    command += ["--root", directory / "root", "--state", directory / "state"]
    with running(
        command,
        address="",
        log=directory / "log",
        is_ready=socket.exists,
        environment={"PATH": path},
    ):
        yield Ctr(client, socket, hosts_directory)


@pytest.mark.parametrize("path", [SYSTEM_PATH, CURRENT_PATH], ids=["debian", "current"])
@pytest.mark.parametrize("host", ["docker.io", "ghcr.io"])
def test_ctr_pulls_every_platform_through_hosts_toml(
    content, rounds, hosts_directory: Path, path: str, host: str
) -> None:
    repository = REPOSITORIES[host]

    for directory in rounds:
        with containerd(directory, hosts_directory, path=path) as ctr:
            ctr.pull(f"{host}/{repository}:multi", "--all-platforms", "--snapshotter", "native")
            ctr.check_contents(content.images[repository, "multi"], directory)
