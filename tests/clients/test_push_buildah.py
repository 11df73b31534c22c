"""buildah builds on an image and pushes to a local repository; podman, whose storage is empty, pulls the result."""

from pathlib import Path

from tests.clients.archives import tar_of
from tests.clients.checks import check_tree
from tests.clients.debian_image import read_tree
from tests.clients.podman import Podman
from tests.clients.pulling import pull_image
from tests.clients.tools import find_tool, require_root, run


def test_what_buildah_builds_and_pushes_podman_pulls(registry, saved_image, workplace: Path) -> None:
    require_root()
    added = {"added": b"by buildah"}
    (workplace / "added.tar").write_bytes(tar_of(added))
    command: list[str | Path] = [find_tool("buildah"), "--root", workplace / "root", "--runroot", workplace / "run"]
    command += ["--storage-driver", "vfs"]
    name = f"{registry.address}/local/buildah:1"

    container = run([*command, "from", f"docker-archive:{saved_image.archive}"]).strip()
    run([*command, "add", container, workplace / "added.tar", "/"])
    built = run([*command, "commit", "--rm", container, "built"]).strip()
    run([*command, "push", "--tls-verify=false", "built", f"docker://{name}"])

    assert pull_image(registry.url, "local/buildah", "1").config == f"sha256:{built}"
    (workplace / "podman").mkdir()
    (workplace / "registries.conf").touch()
    podman = Podman(workplace / "podman", workplace / "registries.conf")
    podman("pull", "--tls-verify=false", name)
    check_tree(podman.export(name), {**saved_image.tree, **read_tree(tar_of(added))})
