"""crane, by path prefix and by bare name."""

import json

from tests.clients.checks import check_layout, check_tree
from tests.clients.debian_image import gather_contents
from tests.clients.tools import find_current_tool, run
from tests.clients.upstream_content import HUB, QUAY


def test_crane_pulls_every_platform(content, cache, rounds) -> None:
    crane, expected = find_current_tool("crane"), gather_contents(content.images[QUAY, "multi"])

    for directory in rounds:
        reference = f"{cache.address}/quay.io/{QUAY}:multi"
        run([crane, "pull", "--insecure", "--format", "oci", reference, directory / "layout"])
        check_layout(directory / "layout", expected)
        run([crane, "validate", "--insecure", "--remote", reference])


def test_crane_exports_the_file_system_and_lists_tags(content, cache, rounds) -> None:
    crane = find_current_tool("crane")

    for directory in rounds:
        archive = directory / "export.tar"
        reference = f"{cache.address}/{HUB.removeprefix('library/')}"
        run([crane, "export", "--insecure", "--platform", "linux/amd64", f"{reference}:multi", archive])
        check_tree(archive.read_bytes(), content.rootfs.tree)
        digest = run([crane, "digest", "--insecure", f"{reference}:plain"]).strip()
        assert digest == content.images[HUB, "plain"].digest
        manifest = run([crane, "manifest", "--insecure", f"{reference}:plain"])
        assert json.loads(manifest) == json.loads(content.images[HUB, "plain"].body)


def test_crane_lists_tags(cache) -> None:
    crane = find_current_tool("crane")

    listed = run([crane, "ls", "--insecure", f"{cache.address}/quay.io/{QUAY}"])

    assert listed.split() == ["multi", "plain"]
