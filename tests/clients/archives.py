"""Images in the forms in which clients take them from a disk."""

import io
import json
import tarfile
from pathlib import Path

from tests.builders import OCI_MANIFEST, Content, Image
from tests.clients.debian_image import Rootfs, make_plain_image


def docker_archive(path: Path, rootfs: Rootfs, *, name: str) -> str:
    """Write what `docker save` writes, one image under the tag `name`; return its id, the configuration's digest."""
    config = make_plain_image(rootfs, name=name).config
    assert config is not None
    files = {f"{number}/layer.tar": layer for number, layer in enumerate(rootfs.layers)}
    config_name = f"{config.digest.removeprefix('sha256:')}.json"
    listed = [{"Config": config_name, "RepoTags": [name], "Layers": list(files)}]
    path.write_bytes(tar_of({**files, config_name: config.body, "manifest.json": json.dumps(listed).encode()}))
    return config.digest


def tar_of(files: dict[str, bytes]) -> bytes:
    """Return an archive of these files, and of the directories whose names end with a slash."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member, io.BytesIO(body))
    return written.getvalue()


def write_layout(directory: Path, image: Image) -> None:
    """Write an OCI layout with one image."""
    for each in (*image.manifests(), *image.blobs()):
        _write_blob(directory, each)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "manifests": [image.manifest.descriptor()]}
    (directory / "index.json").write_text(json.dumps(index))
    assert image.media_type == OCI_MANIFEST


def _write_blob(directory: Path, each: Content) -> None:
    algorithm, _, encoded = each.digest.partition(":")
    folder = directory / "blobs" / algorithm
    folder.mkdir(parents=True, exist_ok=True)
    (folder / encoded).write_bytes(each.body)
