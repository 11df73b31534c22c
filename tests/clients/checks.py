"""What a client has got must be what was built."""

import hashlib
from pathlib import Path

import pytest

from tests.builders import Content
from tests.clients.debian_image import Tree, read_tree

# What docker and podman add to the file system of a container.
_ADDED = {"dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"}


def check_tree(archive: bytes, expected: Tree) -> None:
    """Compare an exported file system with the tree that the image's layers make."""
    received = read_tree(archive)
    different = {path: (received.get(path), entry) for path, entry in expected.items() if received.get(path) != entry}
    added = {path for path in received.keys() - expected.keys() if not _is_added_by_the_client(path)}
    if different or added:
        pytest.fail(f"{len(different)} paths differ, such as {list(different.items())[:5]}; added: {sorted(added)}")


def _is_added_by_the_client(path: str) -> bool:
    return path in _ADDED or path.startswith(("dev/", "run/"))


def check_layout(directory: Path, expected: dict[str, Content]) -> None:
    """Compare the blobs of an OCI layout with what was built: the same digests, and each file's bytes its digest's."""
    blobs = {f"sha256:{path.name}": path for path in (directory / "blobs" / "sha256").iterdir()}
    assert blobs.keys() == expected.keys()
    for digest, path in blobs.items():
        assert path.read_bytes() == expected[digest].body


def check_dir(directory: Path, expected: dict[str, Content]) -> None:
    """Compare skopeo's `dir:` form: manifests by their names, blobs by their digests."""
    files = [path for path in directory.iterdir() if path.name != "version"]
    digests = {f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files}
    assert digests == expected.keys()
