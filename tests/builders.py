"""Images with deterministic content, as plain values: the same arguments give the same bytes and digests.

Nothing here uses the product's code, so that a mistake there cannot hide itself.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

_KINDS = {
    "oci": (OCI_INDEX, OCI_MANIFEST, OCI_CONFIG, OCI_LAYER),
    "docker": (DOCKER_LIST, DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes with their digest and media type: a blob or a manifest."""

    body: bytes
    digest: str
    media_type: str

    @property
    def size(self) -> int:
        return len(self.body)

    def descriptor(self, **fields: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A manifest with its config and layers, or an index with one child image per platform."""

    manifest: Content
    config: Content | None = None
    layers: tuple[Content, ...] = ()
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def media_type(self) -> str:
        return self.manifest.media_type

    @property
    def body(self) -> bytes:
        return self.manifest.body

    def blobs(self) -> Iterator[Content]:
        """Return config and layers, those of all children included."""
        if self.config is not None:
            yield self.config
        yield from self.layers
        for child in self.children:
            yield from child.blobs()

    def manifests(self) -> Iterator[Content]:
        """Return every manifest, children before the index that names them."""
        for child in self.children:
            yield from child.manifests()
        yield self.manifest


def content(body: bytes, media_type: str = OCI_LAYER, *, algorithm: str = "sha256") -> Content:
    encoded = hashlib.new(algorithm, body).hexdigest()
    return Content(body=body, digest=f"{algorithm}:{encoded}", media_type=media_type)


def json_content(document: Any, media_type: str) -> Content:
    return content(json.dumps(document, indent=3).encode(), media_type)


def blob(size: int, *, seed: object = "blob", media_type: str = OCI_LAYER, algorithm: str = "sha256") -> Content:
    """Return a blob whose bytes look random and depend on `seed` only."""
    return content(random.Random(str(seed)).randbytes(size), media_type, algorithm=algorithm)


def image_of(layers: Sequence[Content], config: Content, media_type: str = OCI_MANIFEST, **fields: Any) -> Image:
    """Return the image of these; further fields go into its manifest as they are."""
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
        **fields,
    }
    return Image(manifest=json_content(document, media_type), config=config, layers=tuple(layers))


def image(
    *,
    layers: int = 2,
    platforms: Sequence[str] = (),
    layer_size: int = 4096,
    kind: str = "oci",
    seed: object = "image",
    **manifest_fields: Any,
) -> Image:
    """Return a plain image, or an index over one image per platform such as "linux/arm64".

    `kind` is "oci" or "docker" (schema 2 and manifest lists). Further fields (subject, artifactType, annotations)
    go into the top manifest as they are.
    """
    if not platforms:
        return _plain_image("linux/amd64", (layers, layer_size, kind, seed), manifest_fields)
    children = tuple(_plain_image(name, (layers, layer_size, kind, f"{seed} {name}"), {}) for name in platforms)
    named = zip(platforms, children, strict=True)
    return index([child for _, child in named], platforms=platforms, kind=kind, **manifest_fields)


def index(
    children: Sequence[Image], *, platforms: Sequence[str] = (), kind: str = "oci", **manifest_fields: Any
) -> Image:
    """Return an index over `children`, with their platforms where they are given."""
    media_type = _KINDS[kind][0]
    descriptors = [child.manifest.descriptor() for child in children]
    for descriptor, platform in zip(descriptors, platforms, strict=False):
        descriptor["platform"] = _platform(platform)
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": descriptors, **manifest_fields}
    return Image(manifest=json_content(document, media_type), children=tuple(children))


def referrer(subject: Image, *, artifact_type: str = "application/vnd.example.sbom", seed: object = "sbom") -> Image:
    """Return an artifact that refers to `subject`."""
    layer = blob(512, seed=seed, media_type=artifact_type)
    empty = content(b"{}", OCI_EMPTY)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty.descriptor(),
        "layers": [layer.descriptor()],
        "subject": subject.manifest.descriptor(),
        "annotations": {"org.example.seed": str(seed)},
    }
    return Image(manifest=json_content(document, OCI_MANIFEST), config=empty, layers=(layer,))


def schema1_manifest(name: str = "library/old", tag: str = "1") -> Content:
    """Return a manifest in docker's first format, as some upstreams still hold."""
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": blob(64).digest}],
        "history": [{"v1Compatibility": "{}"}],
        "signatures": [],
    }
    return json_content(document, DOCKER_SCHEMA1)


def _plain_image(platform: str, shape: tuple[int, int, str, object], manifest_fields: dict[str, Any]) -> Image:
    count, layer_size, kind, seed = shape
    _, manifest_type, config_type, layer_type = _KINDS[kind]
    layers = tuple(blob(layer_size, seed=f"{seed} {number}", media_type=layer_type) for number in range(count))
    config = json_content(
        {**_platform(platform), "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]}},
        config_type,
    )
    return image_of(layers, config, manifest_type, **manifest_fields)


def _platform(name: str) -> dict[str, str]:
    fields = dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False))
    if not {"os", "architecture"} <= fields.keys():
        message = f"a platform is os/architecture[/variant], not {name!r}"
        raise ValueError(message)
    return fields
