"""Images with the real content of Debian packages, and what their file systems must look like."""

import gzip
import hashlib
import io
import random
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.builders import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Content,
    Image,
    content,
    image_of,
    index,
    json_content,
)
from tests.clients.tools import find_tool, missing

OCI_GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PACKAGES = ("busybox-static", "netbase", "tzdata")
_WHITEOUT = ".wh."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a file system says about one path."""

    kind: str
    mode: int
    owner: tuple[int, int]
    target: str = ""  # where a symbolic link points to
    sha256: str = ""  # of a regular file's content


Tree = dict[str, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rootfs:
    """The layers of one platform, and the tree that they make."""

    layers: tuple[bytes, ...]  # uncompressed archives
    tree: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianImage:
    """An image as it lies upstream, and the tree that a client must see on linux/amd64."""

    image: Image
    tree: Tree


def download_packages(directory: Path) -> list[Path]:
    """Fetch the packages from the Debian mirror that this machine uses."""
    command = [find_tool("apt-get"), "download", "-q", *PACKAGES]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing(f"apt-get cannot download Debian packages: {done.stderr.strip()[-500:]}")
    return [next(directory.glob(f"{package}_*.deb")) for package in PACKAGES]


def make_rootfs(packages: Iterable[Path]) -> Rootfs:
    """Make two layers: the first package; the others, with what a second layer can do to a first."""
    base, *others = [_read_package(package) for package in packages]
    first = _make_layer(
        [base],
        [_link("bin/sh", "busybox"), _file("etc/removed", b"first layer"), _file("etc/replaced", b"first layer")],
    )
    second = _make_layer(
        others,
        [
            _file("etc/.wh.removed", b""),
            _file("etc/replaced", b"second layer"),
            _directory("srv"),
            _file("srv/random", random.Random("srv").randbytes(3 << 20)),
            _file("srv/as-owner", b"#!/bin/sh\nid\n", mode=0o4755, owner=(1000, 1000)),
            _hard_link("srv/same", "srv/as-owner", mode=0o4755, owner=(1000, 1000)),
        ],
    )
    return Rootfs(layers=(first, second), tree=read_tree(first, second))


def make_plain_image(rootfs: Rootfs, *, name: str, kind: str = "docker", architecture: str = "amd64") -> Image:
    """Return one platform's image; `name` goes into its configuration, so that each name has its own digest."""
    manifest_type, config_type, layer_type = {
        "docker": (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER),
        "oci": (OCI_MANIFEST, OCI_CONFIG, OCI_GZIP_LAYER),
    }[kind]
    layers = tuple(content(gzip.compress(layer, mtime=0), layer_type) for layer in rootfs.layers)
    config = json_content(
        {
            "os": "linux",
            "architecture": architecture,
            "config": {"Cmd": ["/bin/sh"], "Labels": {"org.example.name": name}},
            "rootfs": {"type": "layers", "diff_ids": [content(layer).digest for layer in rootfs.layers]},
        },
        config_type,
    )
    return image_of(layers, config, manifest_type)


def make_index(rootfs: Rootfs, *, name: str) -> Image:
    """Return an index over linux/amd64 with everything and linux/arm64 with the second layer only."""
    amd64 = make_plain_image(rootfs, name=name, kind="oci")
    other = Rootfs(layers=rootfs.layers[1:], tree={})
    arm64 = make_plain_image(other, name=name, kind="oci", architecture="arm64")
    return index([amd64, arm64], platforms=["linux/amd64", "linux/arm64"])


def read_tree(*archives: bytes) -> Tree:
    """Return the tree that these archives make when they are unpacked one over the other."""
    tree: Tree = {}
    for archive in archives:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for member in opened:
                _apply(tree, opened, member)
    return tree


def _apply(tree: Tree, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = _clean(member.name)
    directory, _, base = path.rpartition("/")
    if base.startswith(_WHITEOUT):
        del tree[f"{directory}/{base.removeprefix(_WHITEOUT)}"]
        return
    if not path:
        return
    if member.islnk():
        tree[path] = tree[_clean(member.linkname)]
        return
    body = archive.extractfile(member) if member.isfile() else None
    tree[path] = Entry(
        kind={tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}.get(member.type, "file"),
        mode=member.mode & 0o7777,
        owner=(member.uid, member.gid),
        target=member.linkname,
        sha256=hashlib.sha256(body.read()).hexdigest() if body is not None else "",
    )


def _read_package(package: Path) -> bytes:
    return subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout


Addition = tuple[tarfile.TarInfo, bytes]


def _make_layer(packages: Iterable[bytes], additions: Iterable[Addition]) -> bytes:
    members = [member for package in packages for member in _read_members(package)]
    written, seen = io.BytesIO(), set()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as layer:
        for member, body in [*members, *additions]:
            if member.name not in seen:  # docker refuses a layer that names a path twice
                layer.addfile(member, io.BytesIO(body))
            seen.add(member.name)
    return written.getvalue()


def _read_members(package: bytes) -> Iterator[Addition]:
    with tarfile.open(fileobj=io.BytesIO(package)) as opened:
        for member in opened:
            body = opened.extractfile(member) if member.isfile() else None
            member.name = _clean(member.name)
            member.linkname = _clean(member.linkname) if member.islnk() else member.linkname
            if member.name:
                yield member, body.read() if body is not None else b""


def _clean(path: str) -> str:
    return path.removeprefix("./").strip("/") if path != "." else ""


def _file(path: str, body: bytes, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> Addition:
    member = tarfile.TarInfo(path)
    member.size, member.mode, (member.uid, member.gid) = len(body), mode, owner
    return member, body


def _directory(path: str) -> Addition:
    member = tarfile.TarInfo(path)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member, b""


def _link(path: str, target: str) -> Addition:
    member = tarfile.TarInfo(path)
    member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
    return member, b""


def _hard_link(path: str, target: str, *, mode: int, owner: tuple[int, int]) -> Addition:
    """Return a second name; docker applies what its entry says, so it must say the same as the first."""
    member, body = _file(path, b"", mode=mode, owner=owner)
    member.type, member.linkname = tarfile.LNKTYPE, target
    return member, body


def gather_contents(image: Image) -> dict[str, Content]:
    """Return everything of an image by digest: manifests, configs, layers."""
    return {each.digest: each for each in (*image.manifests(), *image.blobs())}
