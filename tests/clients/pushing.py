"""Putting an image into a registry by the plain protocol, with no client that could change it."""

import urllib.parse
import urllib.request

from tests.builders import Content, Image


def push_image(registry: str, repository: str, image: Image, tag: str) -> None:
    """Upload an image, children first; `registry` is a URL such as http://127.0.0.1:5000."""
    for blob in image.blobs():
        _push_blob(registry, repository, blob)
    for manifest in image.manifests():
        push_manifest(registry, repository, manifest, manifest.digest)
    push_manifest(registry, repository, image.manifest, tag)


def push_manifest(registry: str, repository: str, manifest: Content, reference: str) -> None:
    _send("PUT", f"{registry}/v2/{repository}/manifests/{reference}", manifest.body, manifest.media_type)


def _push_blob(registry: str, repository: str, blob: Content) -> None:
    location = _send("POST", f"{registry}/v2/{repository}/blobs/uploads/", b"", "application/octet-stream")
    separator = "&" if "?" in location else "?"
    target = f"{location}{separator}digest={urllib.parse.quote(blob.digest)}"
    _send("PUT", urllib.parse.urljoin(registry, target), blob.body, "application/octet-stream")


def _send(method: str, url: str, body: bytes, media_type: str) -> str:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": media_type})
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(response.headers.get("Location", ""))
