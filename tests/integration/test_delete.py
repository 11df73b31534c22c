"""What is deleted is gone for every worker at once, and what something else needs is not deleted."""

from proxycache.store.garbage import GRACE_SECONDS
from tests.builders import blob, image, referrer
from tests.integration.harness import Answer, Cache
from tests.integration.pushing import APP, OTHER, push_blob, push_image, put_manifest, tags_of


async def delete(cache: Cache, what: str, repository: str = APP) -> Answer:
    return await cache.ask("DELETE", f"/v2/{repository}/{what}")


def files(cache: Cache) -> set[str]:
    return {path.name for path in cache.parts.layout.blobs.rglob("*") if path.is_file()}


async def test_a_tag_goes_and_its_manifest_stays(workers):
    pushed = image()
    await push_image(workers[0], pushed, "1")
    await put_manifest(workers[0], pushed.manifest, "2")
    for cache in workers:
        assert (await cache.get_manifest(APP, "1")).status == 200

    assert (await delete(workers[0], "manifests/1")).status == 202

    gone = [await cache.get_manifest(APP, "1") for cache in workers]
    assert [(answer.status, answer.code) for answer in gone] == [(404, "MANIFEST_UNKNOWN")] * 2
    assert await tags_of(workers[1]) == ["2"]
    assert (await workers[1].get_manifest(APP, pushed.digest)).body == pushed.body
    assert (await delete(workers[1], "manifests/1")).status == 404


async def test_a_manifest_goes_with_all_its_tags(workers):
    pushed, other = image(), image(seed="other")
    for tag in ("1", "2"):
        await push_image(workers[0], pushed, tag)
    await push_image(workers[0], other, "3")
    for cache in workers:
        assert (await cache.get_manifest(APP, pushed.digest)).status == 200

    assert (await delete(workers[1], f"manifests/{pushed.digest}")).status == 202

    for cache in workers:
        for reference in ("1", "2", pushed.digest):
            assert (await cache.get_manifest(APP, reference)).status == 404
            assert (await cache.head_manifest(APP, reference)).status == 404
    assert await tags_of(workers[0]) == ["3"]
    again = await delete(workers[0], f"manifests/{pushed.digest}")
    assert (again.status, again.code) == (404, "MANIFEST_UNKNOWN")


async def test_what_an_index_names_goes_after_it_only(cache):
    pushed = image(platforms=("linux/amd64", "linux/arm64"))
    await push_image(cache, pushed, "1")
    child = pushed.children[0]

    refused = await delete(cache, f"manifests/{child.digest}")
    refused_blob = await delete(cache, f"blobs/{child.layers[0].digest}")

    assert [(each.status, each.code) for each in (refused, refused_blob)] == [(405, "UNSUPPORTED")] * 2
    assert "an index here names" in refused.message
    assert "a manifest here names" in refused_blob.message
    assert (await cache.get_manifest(APP, child.digest)).body == child.body
    for manifest in reversed(list(pushed.manifests())):
        assert (await delete(cache, f"manifests/{manifest.digest}")).status == 202
    assert (await delete(cache, f"blobs/{child.layers[0].digest}")).status == 202


async def test_a_blob_goes_from_its_repository_only(workers):
    layer = blob(1000)
    for repository in (APP, OTHER):
        await push_blob(workers[0], layer, repository)
    for cache in workers:
        assert (await cache.get_blob(APP, layer.digest)).status == 200

    assert (await delete(workers[0], f"blobs/{layer.digest}")).status == 202

    for cache in workers:
        got = await cache.get_blob(APP, layer.digest)
        assert (got.status, got.code) == (404, "BLOB_UNKNOWN")
        assert (await cache.get_blob(OTHER, layer.digest)).body == layer.body
    assert (await delete(workers[1], f"blobs/{layer.digest}")).code == "BLOB_UNKNOWN"


async def test_a_subject_goes_while_something_refers_to_it(cache):
    pushed = image()
    signature = referrer(pushed)
    await push_image(cache, pushed, "1")
    await push_image(cache, signature)

    assert (await delete(cache, f"manifests/{pushed.digest}")).status == 202

    listed = (await cache.get(f"/v2/{APP}/referrers/{pushed.digest}")).json()["manifests"]
    assert [each["digest"] for each in listed] == [signature.digest]


async def test_after_all_is_deleted_nothing_is_left(workers, clock):
    shared = image(seed="shared")
    for repository in (APP, OTHER):
        await push_image(workers[0], shared, "1", repository)
    await push_image(workers[0], image(platforms=("linux/amd64",)), "2")
    await delete(workers[0], f"manifests/{image(platforms=('linux/amd64',)).digest}")
    await delete(workers[0], f"manifests/{image(platforms=('linux/amd64',)).children[0].digest}")
    await delete(workers[1], f"manifests/{shared.digest}")
    clock.advance(GRACE_SECONDS + 1)

    await workers[1].collect()

    kept = {each.digest.partition(":")[2] for each in (shared.manifest, *shared.blobs())}
    assert files(workers[0]) == kept
    for each in shared.blobs():
        assert (await workers[1].get_blob(APP, each.digest)).status == 404
        assert (await workers[0].get_blob(OTHER, each.digest)).body == each.body
    await delete(workers[0], f"manifests/{shared.digest}", OTHER)
    clock.advance(GRACE_SECONDS + 1)
    await workers[0].collect()
    assert files(workers[0]) == set()
    assert await workers[0].parts.tables.usage.owned_bytes() == 0


async def test_what_is_an_upstream_s_is_not_deleted(cache, upstream):
    held = upstream.add_image("library/alpine", image(), tag="3")
    assert (await cache.get_manifest("library/alpine", "3")).status == 200
    upstream.requests.clear()

    for what in ("manifests/3", f"manifests/{held.digest}", f"blobs/{held.layers[0].digest}"):
        answer = await delete(cache, what, "library/alpine")
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")
        assert "push to a name below local/" in answer.message

    assert (await cache.get_manifest("library/alpine", "3")).body == held.body
    assert upstream.requests == []
