"""The media types of manifests and what they point at."""

import re
from typing import Final

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

MANIFEST_TYPES: Final = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
_FOREIGN_LAYERS = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
)
MANIFEST_ACCEPT: Final = ", ".join(MANIFEST_TYPES)
"""What an upstream is asked for. Schema 1 is left out: registries convert to it, which changes the digest."""


_GRAMMAR = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


def is_media_type(text: str) -> bool:
    """Return whether `text` is a media type without parameters (RFC 6838, section 4.2)."""
    return _GRAMMAR.fullmatch(text) is not None


def is_generic(media_type: str) -> bool:
    """Return whether this type says no more than that there are bytes; old registries call schema 1 JSON."""
    return media_type in ("", "application/json", "application/octet-stream", "text/plain")


def is_index(media_type: str) -> bool:
    """Return whether a manifest of this type lists other manifests."""
    return media_type in (OCI_INDEX, DOCKER_LIST)


def is_schema1(media_type: str) -> bool:
    """Return whether this is Docker's first manifest format, which is not served here."""
    return media_type in (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)


def is_nondistributable(media_type: str) -> bool:
    """Return whether a registry may not hand such a layer out, so that its `urls` say where it is (image-spec)."""
    return media_type.startswith("application/vnd.oci.image.layer.nondistributable.") or media_type in _FOREIGN_LAYERS
