"""Clients that put 100 kB of their own on a base that they have from the cache, and push that to a local repository."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.clients.archives import tar_of, write_layout
from tests.clients.dockerd import Dockerd
from tests.clients.lending import Place
from tests.clients.podman import Podman
from tests.clients.public_base import PRIVATE, REPOSITORY, TAG, PublicBase, docker_context, make_derived
from tests.clients.tools import find_current_tool, find_tool, require_root, run

Push = Callable[[Place, PublicBase, Path], None]
MIRRORED = f"{REPOSITORY.removeprefix('library/')}:{TAG}"
_INSECURE = "--tls-verify=false"


def by_docker(
    start: Callable[..., AbstractContextManager[Dockerd]], *, is_mirrored: bool, with_buildkit: bool = False
) -> Push:
    """Build on the base, as Docker Hub's through the mirror or by the cache's own name."""

    def push(place: Place, base: PublicBase, directory: Path) -> None:
        with start(directory, "--registry-mirror", place.url) as docker:
            docker.build(
                docker_context(MIRRORED if is_mirrored else place.base), place.app, with_buildkit=with_buildkit
            )
            docker.push(place.app, "latest")

    return push


def by_podman(*, is_mirrored: bool) -> Push:
    def push(place: Place, base: PublicBase, directory: Path) -> None:
        require_root()
        name = f"docker.io/{REPOSITORY}:{TAG}" if is_mirrored else place.base
        settings = directory / "registries.conf"
        settings.write_text(
            '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n'
            f'[[registry.mirror]]\nlocation = "{place.address}/docker.io"\ninsecure = true\n'
        )
        podman = Podman(directory, settings)
        (directory / "Dockerfile").write_text(f"FROM {name}\nCOPY private /srv/private\n")
        (directory / "private").write_bytes(PRIVATE["srv/private"])
        podman("pull", _INSECURE, name)
        podman("build", "--isolation", "chroot", "-t", place.app, "-f", directory / "Dockerfile", directory)
        podman("push", _INSECURE, place.app)

    return push


def by_buildah(place: Place, base: PublicBase, directory: Path) -> None:
    require_root()
    (directory / "private.tar").write_bytes(tar_of(PRIVATE))
    command: list[str | Path] = [find_tool("buildah"), "--root", directory / "root", "--runroot", directory / "run"]
    command += ["--storage-driver", "vfs"]
    container = run([*command, "from", _INSECURE, place.base]).strip()
    run([*command, "add", container, directory / "private.tar", "/"])
    run([*command, "commit", "--rm", container, "built"])
    run([*command, "push", _INSECURE, "built", f"docker://{place.app}:latest"])


def crane_append(place: Place, directory: Path) -> list[str | Path]:
    """Return what puts a layer on top of an image that crane never downloads."""
    layer = directory / "private.tar"
    layer.write_bytes(tar_of(PRIVATE))
    command: list[str | Path] = [find_current_tool("crane"), "append", "--insecure", "-b", place.base, "-f", layer]
    return [*command, "-t", f"{place.app}:latest"]


def by_crane_append(place: Place, base: PublicBase, directory: Path) -> None:
    run(crane_append(place, directory))


def by_skopeo_copy(place: Place, base: PublicBase, directory: Path) -> None:
    """Copy an image that was built elsewhere on what somebody else has pulled through the cache."""
    skopeo, layout = find_tool("skopeo"), directory / "layout"
    write_layout(layout, make_derived(base))
    run([skopeo, "copy", "--src-tls-verify=false", f"docker://{place.base}", f"dir:{directory / 'pulled'}"])
    target = f"docker://{place.app}:latest"
    run([skopeo, "copy", "--dest-tls-verify=false", "--preserve-digests", f"oci:{layout}", target])
