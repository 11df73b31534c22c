"""containerd by `ctr` and hosts.toml files, which send `ns`: Debian's version and the current one."""

from pathlib import Path

import pytest

from tests.clients.containerd import containerd
from tests.clients.tools import CURRENT_PATH, SYSTEM_PATH
from tests.clients.upstream_content import REPOSITORIES


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
