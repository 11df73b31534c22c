"""podman with a registries.conf that names the cache as a mirror, for Docker Hub and for ghcr.io."""

from pathlib import Path

import pytest

from tests.clients.checks import check_tree
from tests.clients.podman import Podman
from tests.clients.tools import require_root
from tests.clients.upstream_content import REPOSITORIES


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
