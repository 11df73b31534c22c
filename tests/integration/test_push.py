"""Manifests of any type come in whole or not at all, and every worker has them at once."""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.store.garbage import GRACE_SECONDS
from tests.builders import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Content,
    blob,
    content,
    image,
    index,
    json_content,
    referrer,
)
from tests.integration.harness import Cache
from tests.integration.pushing import (
    APP,
    OTHER,
    manifest_of,
    missing_of,
    push_blob,
    push_image,
    put_manifest,
    tags_of,
)

MIB = 1024 * 1024
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
NESTED = index([index([image(seed="deep")]), image(seed="flat")])
IMAGES = {
    "image": image(),
    "docker image": image(kind="docker"),
    "index": image(platforms=("linux/amd64", "linux/arm64")),
    "docker list": image(platforms=("linux/amd64", "linux/arm64/v8"), kind="docker"),
    "nested index": NESTED,
    "artifact": referrer(image()),
}


@pytest.mark.parametrize("kind", IMAGES)
async def test_an_image_comes_back_byte_for_byte_from_the_other_worker(workers, upstream, kind):
    pushed = IMAGES[kind]

    await push_image(workers[0], pushed, "1.0")

    for manifest, reference in [(pushed.manifest, "1.0"), *((each, each.digest) for each in pushed.manifests())]:
        for cache in reversed(workers):
            got, head = await cache.get_manifest(APP, reference), await cache.head_manifest(APP, reference)
            assert (got.status, got.body) == (200, manifest.body)
            for answer in (got, head):
                assert answer.headers["Content-Type"] == manifest.media_type
                assert answer.headers["Docker-Content-Digest"] == manifest.digest
                assert answer.headers["Content-Length"] == str(manifest.size)
                assert "OCI-Namespace" not in answer.headers
    for each in pushed.blobs():
        assert (await workers[1].get_blob(APP, each.digest)).body == each.body
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"\x00\xff no JSON at all", "application/vnd.example.thing"),
        (b'{"schemaVersion": 2,\n "config": "no descriptor"}', "application/vnd.example.thing+json"),
        (b'{"mediaType": "application/vnd.other"}', "application/vnd.example.thing+json"),
        (b"", "application/vnd.example.empty"),
    ],
)
async def test_an_unknown_type_is_kept_as_it_is(workers, body, media_type):
    pushed = content(body, media_type)

    answer = await put_manifest(workers[0], pushed, "odd")

    assert answer.status == 201
    got = await workers[1].get_manifest(APP, "odd")
    assert (got.body, got.headers["Content-Type"]) == (body, media_type)


async def test_the_answer_to_a_push_says_what_was_pushed(cache):
    pushed = image(subject=image(seed="absent").manifest.descriptor())
    for each in pushed.blobs():
        await push_blob(cache, each)

    by_tag = await put_manifest(cache, pushed.manifest, "1")
    by_digest = await put_manifest(cache, pushed.manifest, f"{pushed.digest}?tag=2&tag=3")

    for answer in (by_tag, by_digest):
        assert answer.status == 201
        assert answer.headers["Location"] == f"/v2/{APP}/manifests/{pushed.digest}"
        assert answer.headers["Docker-Content-Digest"] == pushed.digest
        assert answer.headers["OCI-Subject"] == image(seed="absent").digest
    assert by_tag.headers.getall("OCI-Tag", []) == []
    assert by_digest.headers.getall("OCI-Tag") == ["2", "3"]
    assert await tags_of(cache) == ["1", "2", "3"]


async def test_a_manifest_by_sha512_is_had_by_that(workers):
    body = manifest_of().body
    pushed = content(body, manifest_of().media_type, algorithm="sha512")
    await push_blob(workers[0], json_content({}, OCI_LAYER))

    answer = await put_manifest(workers[0], pushed, f"{pushed.digest}?tag=long")

    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, pushed.digest)
    for reference in (pushed.digest, "long"):
        got = await workers[1].get_manifest(APP, reference)
        assert (got.body, got.headers["Docker-Content-Digest"]) == (body, pushed.digest)


async def test_a_manifest_that_is_too_large_is_refused_before_it_is_read(start):
    cache = await start(max_manifest_size=1000)
    path = f"/v2/{APP}/manifests/1"

    async def pieces():
        for _ in range(100):
            yield b" " * 100

    announced = await cache.send("PUT", path, b"x" * 1001, {"Content-Type": OCI_INDEX})
    endless = await cache.send("PUT", path, pieces(), {"Content-Type": OCI_INDEX})
    fits = await cache.put(path, b"{}".ljust(1000), OCI_INDEX)

    assert [each.status for each in (announced, endless, fits)] == [413, 413, 201]
    assert announced.code == "MANIFEST_INVALID"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"body": b"{"}, "MANIFEST_INVALID"),
        ({"body": b"[]"}, "MANIFEST_INVALID"),
        ({"body": b'{"layers": [{}]}'}, "MANIFEST_INVALID"),
        ({"body": b'{"manifests": [], "layers": []}'}, "MANIFEST_INVALID"),
        ({"media_type": OCI_INDEX}, "MANIFEST_INVALID"),
        ({"media_type": "no type"}, "MANIFEST_INVALID"),
        ({"reference": blob(5).digest}, "DIGEST_INVALID"),
        ({"reference": "sha256:abc"}, "DIGEST_INVALID"),
        ({"reference": f"{'t' * 129}"}, "MANIFEST_INVALID"),
        ({"reference": f"{image().digest}?tag=1&tag=.bad"}, "MANIFEST_INVALID"),
    ],
)
async def test_what_does_not_agree_is_refused_and_moves_no_tag(cache, wrong, code):
    good, fine = image(seed="good"), image()
    await push_image(cache, good, "1")
    for each in fine.blobs():
        await push_blob(cache, each)
    pushed = Content(
        body=wrong.get("body", fine.body), digest=fine.digest, media_type=wrong.get("media_type", fine.media_type)
    )

    answer = await put_manifest(cache, pushed, wrong.get("reference", "1"))

    assert (answer.status, answer.code) == (400, code)
    assert (await cache.get_manifest(APP, "1")).body == good.body
    assert await tags_of(cache) == ["1"]
    assert not cache.holds(fine.digest)


async def test_all_that_is_missing_is_named_and_the_tag_stays(workers):
    good, pushed = image(seed="good"), image(platforms=("linux/amd64",), seed="lacking")
    [child] = pushed.children
    await push_image(workers[0], good, "1")
    await push_blob(workers[0], child.layers[0])

    lacking_child = await put_manifest(workers[0], pushed.manifest, "1")
    lacking_blobs = await put_manifest(workers[0], child.manifest, f"{child.digest}?tag=1")

    assert missing_of(lacking_child) == {child.digest}
    assert missing_of(lacking_blobs) == {child.config.digest, child.layers[1].digest}
    assert (await workers[1].get_manifest(APP, "1")).body == good.body
    assert (await workers[1].get_manifest(APP, child.digest)).status == 404


async def test_a_sparse_index_is_taken_where_it_may_be(start):
    cache = await start(sparse=True)
    pushed = image(platforms=("linux/amd64", "linux/arm64"))
    await push_image(cache, pushed.children[0])

    assert (await put_manifest(cache, pushed.manifest, "1")).status == 201
    assert (await cache.get_manifest(APP, "1")).body == pushed.body
    assert (await cache.get_manifest(APP, pushed.children[1].digest)).status == 404
    assert (await cache.ask("DELETE", f"/v2/{APP}/manifests/{pushed.children[1].digest}")).status == 404


async def test_a_layer_that_nobody_may_hand_out_is_elsewhere(cache):
    await push_blob(cache, json_content({}, OCI_LAYER))
    foreign = blob(100, seed="foreign", media_type=FOREIGN)
    without = manifest_of(foreign)
    elsewhere = json_content(
        {**without_layers(), "layers": [foreign.descriptor(urls=["https://example.com/foreign"])]}, without.media_type
    )

    assert missing_of(await put_manifest(cache, without)) == {foreign.digest}
    assert (await put_manifest(cache, elsewhere, "win")).status == 201
    parent = json_content({"schemaVersion": 2, "manifests": [elsewhere.descriptor()]}, OCI_INDEX)
    assert (await put_manifest(cache, parent, "win", OTHER)).status == 201


def without_layers() -> dict[str, object]:
    return {"schemaVersion": 2, "config": json_content({}, OCI_LAYER).descriptor()}


async def test_an_index_may_name_blobs_as_caches_of_buildkit_do(workers):
    layer, config = blob(100), json_content({}, "application/vnd.buildkit.cacheconfig.v0")
    pushed = json_content({"schemaVersion": 2, "manifests": [layer.descriptor(), config.descriptor()]}, OCI_INDEX)
    await push_blob(workers[0], layer)

    assert missing_of(await put_manifest(workers[0], pushed, "cache")) == {config.digest}
    await push_blob(workers[0], config)
    assert (await put_manifest(workers[0], pushed, "cache")).status == 201

    assert (await put_manifest(workers[1], pushed, "cache", OTHER)).status == 201
    assert (await workers[1].get_blob(OTHER, layer.digest)).body == layer.body


async def test_children_come_from_another_repository_with_all_that_they_need(workers):
    pushed = index([NESTED])
    await push_image(workers[0], NESTED, repository=OTHER)

    assert (await put_manifest(workers[1], pushed.manifest, "1")).status == 201

    for manifest in pushed.manifests():
        assert (await workers[0].get_manifest(APP, manifest.digest)).body == manifest.body
    for each in pushed.blobs():
        assert (await workers[0].get_blob(APP, each.digest)).body == each.body


async def test_bytes_that_are_held_as_a_blob_are_no_child(cache):
    child = image(seed="child")
    await push_blob(cache, child.manifest, OTHER)

    answer = await put_manifest(cache, index([child]).manifest)

    assert missing_of(answer) == {child.digest}


async def test_a_type_that_tells_nothing_hides_nothing_from_a_later_push(cache):
    signed = image(seed="signed")
    signature = referrer(signed)
    odd = Content(body=signature.body, digest=signature.digest, media_type="application/vnd.example.odd")
    assert (await put_manifest(cache, odd, repository=OTHER)).status == 201

    await push_image(cache, signature)

    listed = (await cache.get(f"/v2/{APP}/referrers/{signed.digest}")).json()["manifests"]
    assert [each["digest"] for each in listed] == [signature.digest]
    assert (await cache.get_manifest(OTHER, odd.digest)).headers["Content-Type"] == odd.media_type


async def test_a_push_under_another_type_changes_what_its_tags_are(cache):
    body = b'{"schemaVersion": 2, "manifests": []}'
    for media_type in (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"):
        pushed = content(body, media_type)
        assert (await put_manifest(cache, pushed, "1" if media_type == OCI_INDEX else "")).status == 201

    types = {(await cache.get_manifest(APP, each)).headers["Content-Type"] for each in ("1", pushed.digest)}

    assert types == {pushed.media_type}


async def hold_layers(cache: Cache, upstream, pushed, name: str = "library/base") -> None:
    """Let the cache have an image's blobs as cached ones."""
    upstream.add_image(name, pushed, tag="1")
    for each in pushed.blobs():
        assert (await cache.get_blob(name, each.digest)).body == each.body
    await cache.wait_for_fills(len(list(pushed.blobs())))


async def test_what_was_only_cached_is_owned_from_then_on(start, upstream):
    cache = await start(max_size=24 * MIB, min_free=0, borrow="off")
    pushed = image(layers=1, layer_size=MIB)
    await hold_layers(cache, upstream, pushed)

    assert (await put_manifest(cache, pushed.manifest, "1")).status == 201
    for number in range(8):
        other = upstream.add_blob("library/base", blob(4 * MIB, seed=number))
        await cache.get_blob("library/base", other.digest)
        await cache.wait_for_fills(number + 3)
    upstream.requests.clear()

    assert not cache.holds(blob(4 * MIB, seed=0).digest)
    assert await cache.parts.tables.usage.owned_bytes() >= MIB
    for each in pushed.blobs():
        assert (await cache.get_blob(APP, each.digest)).body == each.body
    assert upstream.requests == []


async def test_a_promise_made_anew_outlives_a_collection(workers, clock):
    layer, config = blob(100), json_content({}, OCI_LAYER)
    for each in (layer, config):
        await push_blob(workers[0], each)
    clock.advance(GRACE_SECONDS - 1)
    for each in (layer, config):
        assert (await workers[1].head(f"/v2/{APP}/blobs/{each.digest}")).status == 200
    clock.advance(GRACE_SECONDS - 1)

    await workers[0].collect()

    assert (await put_manifest(workers[1], manifest_of(layer), "1")).status == 201
    clock.advance(100 * GRACE_SECONDS)
    await workers[0].collect()
    assert (await workers[1].get_blob(APP, layer.digest)).body == layer.body


async def test_what_nobody_asked_for_is_collected(workers, clock):
    layer = blob(100)
    await push_blob(workers[0], layer)
    assert (await workers[1].head(f"/v2/{APP}/blobs/{layer.digest}")).status == 200
    clock.advance(GRACE_SECONDS + 1)

    await workers[0].collect()

    assert (await workers[1].get_blob(APP, layer.digest)).status == 404
    assert not workers[1].holds(layer.digest)


async def test_a_locked_database_fails_a_push_and_no_pull_by_digest(workers):
    pushed = image(seed="held")
    await push_image(workers[0], pushed, "1")
    other = image(seed="other")
    for each in other.blobs():
        await push_blob(workers[0], each)
    with closing(sqlite3.connect(workers[0].parts.layout.database, isolation_level=None)) as locking:
        locking.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        refused = await put_manifest(workers[0], other.manifest, "1")
        seconds = time.monotonic() - begun
        pulled = [await cache.get_blob(APP, pushed.layers[0].digest) for cache in workers]
        locking.execute("ROLLBACK")

    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert seconds < 9
    assert {each.body for each in pulled} == {pushed.layers[0].body}
    assert (await workers[1].get_manifest(APP, "1")).body == pushed.body
    assert (await put_manifest(workers[0], other.manifest, "1")).status == 201


async def test_a_file_that_is_lost_is_missing_and_can_be_pushed_again(cache):
    pushed = image()
    await push_image(cache, pushed, "1")
    cache.parts.layout.blob(parse_digest(pushed.digest)).unlink()
    cache.parts.layout.blob(parse_digest(pushed.layers[0].digest)).unlink()

    assert (await cache.get_manifest(APP, "1")).code == "MANIFEST_UNKNOWN"
    assert (await cache.head(f"/v2/{APP}/blobs/{pushed.layers[0].digest}")).status == 404
    await push_image(cache, pushed, "1")
    assert (await cache.get_manifest(APP, "1")).body == pushed.body


@pytest.mark.parametrize(
    ("media_type", "fields"),
    [
        (OCI_INDEX, {"manifests": [], "layers": []}),
        (OCI_INDEX, {"config": json_content({}, OCI_CONFIG).descriptor()}),
        (OCI_MANIFEST, {"config": json_content({}, OCI_CONFIG).descriptor(), "manifests": []}),
    ],
)
async def test_a_manifest_that_is_not_shaped_like_its_type_is_refused(cache, media_type, fields):
    await push_blob(cache, json_content({}, OCI_CONFIG))

    answer = await put_manifest(cache, json_content({"schemaVersion": 2} | fields, media_type))

    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


async def test_a_manifest_with_more_references_than_any_image_has_is_refused(cache):
    entry = blob(10, media_type=OCI_MANIFEST).descriptor()
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] * 5000}

    answer = await put_manifest(cache, json_content(document, OCI_INDEX))

    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert "4096" in answer.message


async def test_what_an_upstream_calls_its_manifest_counts_under_its_name(cache, upstream):
    """Whoever pushed the same bytes here before, as something else."""
    base = image()
    upstream.add_image("library/app", base, tag="1")
    for each in base.blobs():
        await push_blob(cache, each)
    untyped = json_content(json.loads(base.manifest.body) | {"mediaType": None}, OCI_MANIFEST)
    upstream.add_manifest("library/app", untyped, tag="2")
    assert (await put_manifest(cache, replace(untyped, media_type=DOCKER_MANIFEST))).status == 201

    got = await cache.get_manifest("app", "2")

    assert (got.body, got.headers["Content-Type"]) == (untyped.body, OCI_MANIFEST)
