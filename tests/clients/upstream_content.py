"""What lies in the upstream registries: each has what is its own, so that a wrong route finds nothing."""

from dataclasses import dataclass
from pathlib import Path

from tests.builders import Image
from tests.clients.debian_image import Rootfs, download_packages, make_index, make_plain_image, make_rootfs
from tests.clients.pushing import push_image
from tests.clients.services import docker_registry

# Names that exist nowhere else, so that a client which goes round the cache gets nothing.
HUB = "library/proxycache-test"
GHCR = "proxycache-test/on-ghcr"
QUAY = "proxycache-test/on-quay"
REPOSITORIES = {"docker.io": HUB, "ghcr.io": GHCR, "quay.io": QUAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamContent:
    """In each repository an index under `multi` and an image of one platform under `plain`."""

    storage: Path  # below it a directory for each registry
    rootfs: Rootfs
    images: dict[tuple[str, str], Image]  # by repository and tag


def make_content(directory: Path) -> UpstreamContent:
    """Build the images and push them into storage below `directory`."""
    rootfs, images = make_rootfs(download_packages(directory)), {}
    for host, repository in REPOSITORIES.items():
        images[repository, "multi"] = make_index(rootfs, name=repository)
        images[repository, "plain"] = make_plain_image(rootfs, name=repository)
        with docker_registry(directory / "storage" / host, directory / f"{host}.log") as registry:
            for tag in ("multi", "plain"):
                push_image(registry.url, repository, images[repository, tag], tag)
    return UpstreamContent(storage=directory / "storage", rootfs=rootfs, images=images)
