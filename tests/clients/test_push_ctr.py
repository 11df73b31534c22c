"""containerd pushes every platform to a local repository, and one whose storage is empty pulls it: both versions."""

from pathlib import Path

import pytest

from tests.clients.containerd import containerd
from tests.clients.pulling import pull_image
from tests.clients.tools import CURRENT_PATH, SYSTEM_PATH
from tests.clients.upstream_content import HUB

EVERYTHING = ("--plain-http", "--all-platforms", "--snapshotter", "native")


@pytest.mark.parametrize("path", [SYSTEM_PATH, CURRENT_PATH], ids=["debian", "current"])
def test_what_one_containerd_pushes_another_pulls(content, hub, registry, workplace: Path, path: str) -> None:
    image, version = content.images[HUB, "multi"], "current" if path == CURRENT_PATH else "debian"
    source = f"{hub['docker.io'].address}/{HUB}:multi"
    repository, no_hosts = f"local/ctr-{version}", workplace / "hosts"
    target = f"{registry.address}/{repository}:multi"
    for directory in (no_hosts, workplace / "a", workplace / "b"):
        directory.mkdir()

    with containerd(workplace / "a", no_hosts, path=path) as ctr:
        ctr.pull(source, *EVERYTHING)
        ctr.push(source, target)

    assert pull_image(registry.url, repository, "multi").digest == image.digest
    with containerd(workplace / "b", no_hosts, path=path) as other:
        other.pull(target, *EVERYTHING)
        other.check_contents(image, workplace)
