"""What was pushed and is deleted goes from the disk of a running cache, when its grace is over, and nothing else."""

import sqlite3
from contextlib import closing

from proxycache.oci.digest import parse_digest
from proxycache.store.garbage import GRACE_SECONDS
from tests.builders import Content, Image, image, index
from tests.processes.caches import Answer, RunningCache
from tests.processes.test_commands import from_each, run

APP, OTHER = "local/app", "local/other"
SHARED, LONELY = image(layers=1, seed="shared"), image(layers=1, seed="lonely")
SUMMARY = index([SHARED, LONELY])


def send(cache: RunningCache, method: str, path: str, content: Content | None = None) -> Answer:
    """Ask any worker on a new connection."""
    connection = cache.connect()
    headers = {"Content-Type": content.media_type} if content else {}
    connection.http.request(method, path, body=content.body if content else None, headers=headers)
    return connection.finish()


def push(cache: RunningCache, pushed: Image, tag: str, repository: str = APP) -> None:
    for each in pushed.blobs():
        path = f"/v2/{repository}/blobs/uploads/?digest={each.digest}"
        assert send(cache, "POST", path, each).status == 201
    for manifest in pushed.manifests():
        path = f"/v2/{repository}/manifests/{manifest.digest}?tag={tag}"
        assert send(cache, "PUT", path, manifest).status == 201


def age_links(cache: RunningCache) -> None:
    """Let an hour pass."""
    with closing(sqlite3.connect(cache.layout.database)) as database, database:
        database.execute("UPDATE local_links SET linked_at = linked_at - ?", (GRACE_SECONDS + 1,))


def held(cache: RunningCache) -> set[str]:
    return {path.name for path in cache.layout.blobs.rglob("*") if path.is_file()}


def encoded(*images: Image) -> set[str]:
    return {parse_digest(each.digest).encoded for image in images for each in (*image.blobs(), *image.manifests())}


def test_a_deleted_image_goes_an_hour_later_and_what_others_have_stays(cache: RunningCache) -> None:
    push(cache, SUMMARY, "1")
    push(cache, SHARED, "1", OTHER)
    for manifest in reversed(list(SUMMARY.manifests())):
        assert send(cache, "DELETE", f"/v2/{APP}/manifests/{manifest.digest}").status == 202

    at_once = run(cache, "collect")
    assert at_once == (0, f"collected 0 links, 2 blobs, {SUMMARY.manifest.size + LONELY.manifest.size} bytes\n")
    layer = LONELY.layers[0]
    assert {each.body for each in from_each(cache, f"/v2/{APP}/blobs/{layer.digest}")} == {layer.body}

    age_links(cache)
    size = sum(each.size for each in LONELY.blobs())
    assert run(cache, "collect", "--dry-run") == (0, f"would collect 4 links, 2 blobs, {size} bytes\n")
    assert run(cache, "collect") == (0, f"collected 4 links, 2 blobs, {size} bytes\n")

    assert held(cache) == encoded(SHARED)
    for each in LONELY.blobs():
        assert {got.status for got in from_each(cache, f"/v2/{APP}/blobs/{each.digest}")} == {404}
    for each in SHARED.blobs():
        assert {got.status for got in from_each(cache, f"/v2/{APP}/blobs/{each.digest}")} == {404}
        assert {got.body for got in from_each(cache, f"/v2/{OTHER}/blobs/{each.digest}")} == {each.body}
    assert {got.body for got in from_each(cache, f"/v2/{OTHER}/manifests/1")} == {SHARED.body}
    assert cache.check_blobs() == 3


def test_what_was_pushed_outlives_a_kill_and_a_collection(cache: RunningCache) -> None:
    push(cache, SUMMARY, "1")

    cache.kill_all()
    cache.start()
    age_links(cache)

    assert run(cache, "collect") == (0, "collected 0 links, 0 blobs, 0 bytes\n")
    assert held(cache) == encoded(SUMMARY)
    assert {got.body for got in from_each(cache, f"/v2/{APP}/manifests/1")} == {SUMMARY.body}
