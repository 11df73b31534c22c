"""dockerd with its classic image store and the current one with containerd's: pulled, and the containers compared."""

from pathlib import Path

import pytest

from tests.clients.checks import check_tree
from tests.clients.dockerd import classic_dockerd, current_dockerd
from tests.clients.upstream_content import HUB, REPOSITORIES


@pytest.mark.parametrize("tag", ["multi", "plain"])
@pytest.mark.parametrize("start", [classic_dockerd, current_dockerd])
def test_dockerd_pulls_through_its_registry_mirror(content, cache, rounds, start, tag: str) -> None:
    image = HUB.removeprefix("library/")

    for directory in rounds:
        with start(directory, "--registry-mirror", cache.url) as docker:
            docker.pull(image, tag)
            check_tree(docker.export(f"{image}:{tag}"), content.rootfs.tree)


@pytest.mark.parametrize("host", ["ghcr.io", "quay.io"])
def test_the_current_dockerd_pulls_other_registries_names_by_hosts_toml(
    content, rounds, hosts_directory: Path, host: str
) -> None:
    image = f"{host}/{REPOSITORIES[host]}"

    for directory in rounds:
        (directory / "etc").mkdir()
        (directory / "etc" / "certs.d").symlink_to(hosts_directory)
        with current_dockerd(directory) as docker:
            docker.pull(image, "multi")
            check_tree(docker.export(f"{image}:multi"), content.rootfs.tree)
