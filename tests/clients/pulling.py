"""Reading an image from a registry by the plain protocol, to its last byte, with no client that could forgive it."""

import hashlib
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.builders import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

_ACCEPTED = ", ".join([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST])


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledImage:
    """A manifest and all that it names, by digest."""

    digest: str
    contents: dict[str, bytes]

    @property
    def document(self) -> Any:
        return json.loads(self.contents[self.digest])

    @property
    def config(self) -> str:
        """The digest of the configuration: docker calls it the image's id."""
        return str(self.document["config"]["digest"])


def pull_image(registry: str, repository: str, reference: str) -> PulledImage:
    """Fetch a manifest and everything below it; AssertionError unless each is there, and what its digest says.

    `registry` is a URL such as http://127.0.0.1:5000.
    """
    base, contents = f"{registry}/v2/{repository}", {}
    body, digest = _get(f"{base}/manifests/{reference}")
    waiting = [(digest, body)]
    while waiting:
        current, content = waiting.pop()
        contents[current] = _checked(content, current)
        document = json.loads(content)
        waiting += [(child["digest"], _get(f"{base}/manifests/{child['digest']}")[0]) for child in _children(document)]
        for blob in _blobs(document):
            contents[blob["digest"]] = _checked(_get(f"{base}/blobs/{blob['digest']}")[0], blob["digest"])
            assert len(contents[blob["digest"]]) == blob["size"]
    return PulledImage(digest=digest, contents=contents)


def list_referrers(registry: str, repository: str, digest: str) -> list[str]:
    """Return the digests of what refers to a manifest, by the referrers API."""
    body, _ = _get(f"{registry}/v2/{repository}/referrers/{digest}")
    return [descriptor["digest"] for descriptor in json.loads(body)["manifests"]]


def _children(document: Any) -> list[dict[str, Any]]:
    return list(document.get("manifests", []))


def _blobs(document: Any) -> list[dict[str, Any]]:
    return [*document.get("layers", []), *([document["config"]] if "config" in document else [])]


def _checked(content: bytes, digest: str) -> bytes:
    algorithm, _, encoded = digest.partition(":")
    assert hashlib.new(algorithm, content).hexdigest() == encoded
    return content


def _get(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": _ACCEPTED}), timeout=30) as response:
        return response.read(), str(response.headers.get("Docker-Content-Digest", ""))
