"""A client that pushes images: blobs first, then manifests, children before the index that names them."""

import json
from collections.abc import Mapping
from typing import Any

from tests.builders import OCI_CONFIG, Content, Image, image_of, json_content
from tests.integration.harness import Answer, Cache

APP, OTHER = "local/app", "local/other"


async def push_blob(
    cache: Cache, content: Content, repository: str = APP, headers: Mapping[str, str] | None = None
) -> None:
    path = f"/v2/{repository}/blobs/uploads/?digest={content.digest}"
    assert (await cache.send("POST", path, content.body, headers)).status == 201


async def put_manifest(
    cache: Cache,
    content: Content,
    reference: str = "",
    repository: str = APP,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Push a manifest by `reference`, its digest if there is none; a query may follow."""
    path = f"/v2/{repository}/manifests/{reference or content.digest}"
    return await cache.send("PUT", path, content.body, {"Content-Type": content.media_type, **(headers or {})})


async def push_image(cache: Cache, image: Image, tag: str = "", repository: str = APP) -> None:
    """Push all of it; the top manifest by `tag` if there is one."""
    for blob in image.blobs():
        await push_blob(cache, blob, repository)
    for manifest in image.manifests():
        reference = tag if manifest is image.manifest else ""
        assert (await put_manifest(cache, manifest, reference, repository)).status == 201


def manifest_of(*layers: Content, config: Content | None = None, **fields: Any) -> Content:
    """Return an image manifest, which needs no config of its own if it has none."""
    return image_of(layers, config or json_content({}, OCI_CONFIG), **fields).manifest


def missing_of(answer: Answer) -> set[str]:
    """Return what a refused push says is missing."""
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    return set(json.loads(answer.body)["errors"][0]["detail"])


async def tags_of(cache: Cache, query: str = "", repository: str = APP) -> list[str]:
    return list((await cache.get(f"/v2/{repository}/tags/list{query}")).json()["tags"])
