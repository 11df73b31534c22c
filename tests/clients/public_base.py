"""An image whose base lies in a public registry, and whose other layer is somebody's own."""

import gzip
import io
import random
from dataclasses import dataclass

from tests.builders import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Image,
    content,
    image_of,
    json_content,
)
from tests.clients.archives import tar_of
from tests.clients.debian_image import OCI_GZIP_LAYER, Tree, read_tree

REPOSITORY, TAG = "library/base", "1"
BASE_BYTES = 50_000_000  # at least, compressed
MOST_BYTES = 150_000  # what may be sent and owned of an image with 100 kB of its own
PRIVATE = {"srv/private": random.Random("private").randbytes(100_000)}
_DIRECTORIES = {"etc/": b"", "srv/": b""}
_TYPES = {
    "docker": (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER),
    "oci": (OCI_MANIFEST, OCI_CONFIG, OCI_GZIP_LAYER),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicBase:
    """The base as it lies upstream, and the tree of the whole image."""

    image: Image
    archives: tuple[bytes, ...]
    tree: Tree

    @property
    def layers(self) -> list[str]:
        return [layer.digest for layer in self.image.layers]


def make_base() -> PublicBase:
    """Make two layers that no client compresses to the same bytes: another level, and a name in gzip's header."""
    archives = tuple(
        tar_of({**_DIRECTORIES, f"srv/base{number}": random.Random(number).randbytes(BASE_BYTES // 2)})
        for number in range(2)
    )
    image = make_image(archives, kind="docker")
    assert sum(layer.size for layer in image.layers) >= BASE_BYTES
    return PublicBase(image=image, archives=archives, tree=read_tree(*archives, tar_of(PRIVATE)))


def make_derived(base: PublicBase) -> Image:
    """Return the whole image as somebody has it who builds from registries, with the base's layers byte for byte."""
    return make_image((*base.archives, tar_of(PRIVATE)), kind="oci")


def make_image(archives: tuple[bytes, ...], *, kind: str) -> Image:
    manifest_type, config_type, layer_type = _TYPES[kind]
    layers = tuple(content(_compress(archive), layer_type) for archive in archives)
    config = json_content(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [content(archive).digest for archive in archives]},
        },
        config_type,
    )
    return image_of(layers, config, manifest_type)


def _compress(archive: bytes) -> bytes:
    written = io.BytesIO()
    with gzip.GzipFile("layer.tar", "wb", compresslevel=1, fileobj=written, mtime=1) as file:
        file.write(archive)
    return written.getvalue()


def docker_context(base_name: str) -> bytes:
    """Return what `docker build` sends: the base by the name that it has there, and what is copied on top."""
    dockerfile = f"FROM {base_name}\nCOPY private /srv/private\n"
    return tar_of({"Dockerfile": dockerfile.encode(), "private": PRIVATE["srv/private"]})
