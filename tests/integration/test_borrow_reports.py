"""What is told of each push: what was sent, what was borrowed, and what could have been."""

from proxycache.events import ImagePushed
from tests.builders import blob
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import BASE, CANONICAL, NAME, OWN, TAGGED, borrow, config_for, push_on
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP, manifest_of, push_blob, put_manifest


async def test_a_push_tells_what_came_over_the_line_and_what_did_not(cache: Cache, upstream: FakeRegistry) -> None:
    await borrow(cache, upstream)
    [first] = await cache.wait_for(ImagePushed)
    await push_on(cache, BASE, "v2", own=blob(300, seed="next"))
    _, second = await cache.wait_for(ImagePushed, 2)

    own_config = len(config_for(*(each.digest for each in (*BASE.layers, OWN))).body)
    assert (first.repository, first.reference, first.sent_bytes) == (APP, "v1", OWN.size + own_config)
    assert first.borrowed_bytes == sum(layer.size for layer in BASE.layers)
    assert first.owned_bytes == first.sent_bytes
    assert second.sent_bytes == 300 + own_config
    assert first.could_have_borrowed == second.could_have_borrowed == ()
    metrics = (await cache.get("/-/metrics")).body.decode().splitlines()
    assert f"proxycache_image_sent_bytes_total {float(first.sent_bytes + second.sent_bytes)}" in metrics
    assert f"proxycache_image_borrowed_bytes_total {float(2 * first.borrowed_bytes)}" in metrics


async def test_what_was_sent_counts_for_one_push(cache: Cache) -> None:
    config = config_for(OWN.digest)
    manifest = manifest_of(OWN, config=config)
    for each in (OWN, config):
        await push_blob(cache, each)

    for tag in ("1", "2"):
        assert (await put_manifest(cache, manifest, tag)).status == 201
        await cache.wait_for(ImagePushed, int(tag))

    first, second = await cache.wait_for(ImagePushed, 2)
    assert (first.sent_bytes, second.sent_bytes) == (OWN.size + config.size, 0)
    assert first.owned_bytes == second.owned_bytes == first.sent_bytes


async def test_a_layer_that_was_compressed_anew_is_named_with_its_origin(cache: Cache, upstream: FakeRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="1")
    await cache.jobs.learner.learn(TAGGED)
    anew = blob(3000, seed="the same tar, other gzip")
    config = config_for(BASE.layers[0].digest, OWN.digest)
    for each in (anew, OWN, config):
        await push_blob(cache, each)

    assert (await put_manifest(cache, manifest_of(anew, OWN, config=config), "1")).status == 201

    assert (await put_manifest(cache, manifest_of(anew, OWN, config=config), "2")).status == 201
    pushed, again = await cache.wait_for(ImagePushed, 2)
    [layer] = pushed.could_have_borrowed
    assert again.could_have_borrowed == ()
    assert (layer.digest, layer.size) == (anew.digest, anew.size)
    assert (layer.known_as, layer.origin) == (BASE.layers[0].digest, CANONICAL)


async def test_an_origin_that_may_not_be_borrowed_from_is_not_named(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(borrow_from=("ghcr.io",))
    upstream.add_image(NAME, BASE, tag="1")
    await cache.jobs.learner.learn(TAGGED)
    anew, config = blob(3000, seed="anew"), config_for(BASE.layers[0].digest)
    for each in (anew, config):
        await push_blob(cache, each)

    assert (await put_manifest(cache, manifest_of(anew, config=config), "1")).status == 201

    [pushed] = await cache.wait_for(ImagePushed)
    assert pushed.could_have_borrowed == ()
