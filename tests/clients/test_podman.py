"""podman with a registries.conf that names the cache as a mirror, for Docker Hub and for ghcr.io."""

from pathlib import Path

import pytest

from tests.clients.checks import check_tree
from tests.clients.tools import find_tool, require_root, run
from tests.clients.upstream_content import REPOSITORIES


class Podman:
    """podman with storage of its own."""

    def __init__(self, directory: Path, registries_conf: Path) -> None:
        storage = ["--root", directory / "root", "--runroot", directory / "run", "--storage-driver", "vfs"]
        self._command = [find_tool("podman"), *storage, "--cgroup-manager", "cgroupfs"]
        self._environment = {"CONTAINERS_REGISTRIES_CONF": str(registries_conf)}
        self._directory = directory

    def __call__(self, *arguments: str | Path) -> str:
        return run([*self._command, *arguments], environment=self._environment)

    def export(self, image: str) -> bytes:
        archive = self._directory / "export.tar"
        self("export", "-o", archive, self("create", image).strip())
        return archive.read_bytes()


@pytest.mark.parametrize("host", ["docker.io", "ghcr.io"])
@pytest.mark.parametrize("tag", ["multi", "plain"])
def test_podman_pulls_through_the_mirror(content, rounds, registries_conf: Path, host: str, tag: str) -> None:
    require_root()
    image = f"{host}/{REPOSITORIES[host]}:{tag}"

    for directory in rounds:
        podman = Podman(directory, registries_conf)
        podman("pull", image)
        check_tree(podman.export(image), content.rootfs.tree)
        podman("rm", "--all")
        podman("rmi", "--all", "--force")
