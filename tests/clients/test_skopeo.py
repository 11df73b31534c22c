"""skopeo, by path prefix and through registries.conf, all platforms byte for byte."""

from pathlib import Path

import pytest

from tests.clients.checks import check_dir, check_layout
from tests.clients.debian_image import gather_contents
from tests.clients.tools import find_tool, run
from tests.clients.upstream_content import GHCR, HUB


@pytest.mark.parametrize("tag", ["multi", "plain"])
def test_skopeo_copies_every_platform_to_a_layout(content, cache, rounds, tag: str) -> None:
    skopeo, expected = find_tool("skopeo"), gather_contents(content.images[GHCR, tag])

    for directory in rounds:
        source = f"docker://{cache.address}/ghcr.io/{GHCR}:{tag}"
        command = [skopeo, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", source]
        run([*command, f"dir:{directory / 'dir'}"])
        check_dir(directory / "dir", expected)
        if tag == "multi":
            run([*command, f"oci:{directory / 'layout'}:1"])
            check_layout(directory / "layout", expected)


def test_skopeo_uses_the_cache_as_a_mirror(content, rounds, registries_conf: Path) -> None:
    skopeo, expected = find_tool("skopeo"), gather_contents(content.images[HUB, "multi"])

    for directory in rounds:
        source = f"docker://docker.io/{HUB}:multi"
        run([skopeo, "--registries-conf", registries_conf, "copy", "--all", source, f"oci:{directory / 'layout'}:1"])
        check_layout(directory / "layout", expected)
