"""Images to push: random content, which nothing compresses, in one file, with the digests computed beforehand."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.origin import MANIFEST_TYPE

_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_BLOCK_SIZE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A blob of an image: `size` bytes of the file `content`, from `offset` on."""

    digest: str
    content: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is pushed: the layers, the config, then the manifest."""

    layers: Sequence[Part]
    config: Part
    manifest: bytes


def make_image(content: Path, *, layers: int, layer_size: int) -> Image:
    """Write an image of random layers to the file `content`, which names it: the same file holds the same image."""
    parts: list[Part] = []
    source = random.Random(f"{content.name} {layers} {layer_size}")
    with content.open("wb") as file:

        def add(pieces: Iterator[bytes]) -> Part:
            offset, content_hash = file.tell(), hashlib.sha256()
            for piece in pieces:
                content_hash.update(piece)
                file.write(piece)
            digest = f"sha256:{content_hash.hexdigest()}"
            return Part(digest=digest, content=content, offset=offset, size=file.tell() - offset)

        parts.extend(add(_random_pieces(source, layer_size)) for _ in range(layers))
        diff_ids = [part.digest for part in parts]
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        config_part = add(iter([json.dumps(config).encode()]))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(config_part, _CONFIG_TYPE),
        "layers": [_descriptor(part, _LAYER_TYPE) for part in parts],
    }
    return Image(layers=parts, config=config_part, manifest=json.dumps(manifest).encode())


def _random_pieces(source: random.Random, size: int) -> Iterator[bytes]:
    for begin in range(0, size, _BLOCK_SIZE):
        yield source.randbytes(min(_BLOCK_SIZE, size - begin))


def _descriptor(part: Part, media_type: str) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": part.digest, "size": part.size}
