"""Bases that are learnt without pulling them, and what their layers are unpacked."""

import asyncio

import pytest

from proxycache.upstream.errors import UpstreamError, UpstreamNotFound
from tests.builders import blob, image, index
from tests.fakes.clock import FakeClock
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    CANONICAL,
    CANONICAL_TWIN,
    HOUR,
    NAME,
    ON_TWO,
    OWN,
    PLATFORMS,
    TAGGED,
    TWIN,
    asked,
    config_for,
    remove_file,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP, manifest_of, put_manifest

MOVED = image(platforms=PLATFORMS, seed="moved")


async def diff_id_of(cache: Cache, layer: str) -> set[str | None]:
    rows = await cache.parts.database.fetch("SELECT diff_id FROM origins WHERE digest = ?", (layer,))
    return {diff_id for (diff_id,) in rows}


async def settled(name: str) -> None:
    """Wait until no detached task of this name runs."""
    while tasks := [task for task in asyncio.all_tasks() if task.get_name() == name]:
        await asyncio.wait(tasks)


# --- bases ---


async def test_a_base_is_learnt_without_any_of_its_layers(cache: Cache, upstream: FakeRegistry) -> None:
    upstream.add_image(NAME, ON_TWO, tag="1")

    learnt = await cache.jobs.learner.learn(TAGGED)

    assert (str(learnt.digest), learnt.is_new, learnt.images, learnt.layers) == (ON_TWO.digest, True, 2, 4)
    manifests = {each.digest for each in ON_TWO.manifests()}
    configs = {child.config.digest for child in ON_TWO.children if child.config}
    assert {what for method, what in asked(upstream) if method == "GET"} == manifests | configs
    for child in ON_TWO.children:
        for layer in child.layers:
            head = await cache.head(f"/v2/{APP}/blobs/{layer.digest}")
            assert (head.status, head.headers["Content-Length"]) == (200, str(layer.size))
            assert await diff_id_of(cache, layer.digest) == {layer.digest}


async def test_a_base_that_has_not_moved_costs_one_head(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    upstream.add_image(NAME, ON_TWO, tag="1")
    await cache.jobs.learner.learn(TAGGED)
    for each in ON_TWO.manifests():
        await remove_file(cache, each)
    upstream.requests.clear()
    clock.advance(HOUR)

    learnt = await cache.jobs.learner.learn(TAGGED)

    assert (learnt.is_new, asked(upstream)) == (False, [("HEAD", "1")])


async def test_of_a_base_that_has_moved_only_what_moved_is_got(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    now = index([ON_TWO.children[0], MOVED.children[1]], platforms=PLATFORMS)
    upstream.add_image(NAME, ON_TWO, tag="1")
    await cache.jobs.learner.learn(TAGGED)
    upstream.add_image(NAME, now, tag="1")
    upstream.requests.clear()

    learnt = await cache.jobs.learner.learn(TAGGED)

    moved = MOVED.children[1]
    assert moved.config is not None
    assert str(learnt.digest) == now.digest
    assert asked(upstream)[0] == ("HEAD", "1")
    assert {what for method, what in asked(upstream) if method == "GET"} == {
        now.digest,
        moved.digest,
        moved.config.digest,
    }


async def test_a_platform_that_is_not_there_is_no_failure_and_a_failure_is_asked_again(
    cache: Cache, upstream: FakeRegistry
) -> None:
    upstream.add_image(NAME, ON_TWO, tag="1")
    del upstream.repository(NAME).manifests[ON_TWO.children[0].digest]
    upstream.faults.add(answer(503), on=ON_TWO.children[1].digest, times=1)

    with pytest.raises(UpstreamError):
        await cache.jobs.learner.learn(TAGGED)
    learnt = await cache.jobs.learner.learn(TAGGED)

    assert (learnt.is_new, learnt.images) == (True, 1)


async def test_what_may_not_be_borrowed_from_is_not_learnt(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(deny=[NAME])
    upstream.add_image(NAME, ON_TWO, tag="1")

    with pytest.raises(UpstreamNotFound, match="refused by the rules"):
        await cache.jobs.learner.learn(TAGGED)

    assert upstream.requests == []


async def test_all_bases_are_refreshed_whatever_is_wrong_with_one(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(bases=("local/app:1", "library/gone:1", f"{NAME}:1"))
    upstream.add_image(NAME, BASE, tag="1")
    upstream.add_image(TWIN, MOVED, tag="latest")
    await cache.parts.tables.bases.add(f"{CANONICAL_TWIN}:latest", now=1.0)

    await cache.jobs.refresher.refresh()

    learnt = [
        await cache.parts.tables.bases.find_learnt(name) for name in (f"{CANONICAL}:1", f"{CANONICAL_TWIN}:latest")
    ]
    assert list(map(str, learnt)) == [BASE.digest, MOVED.digest]


# --- diffIDs ---


async def test_a_pull_teaches_what_its_layers_are_unpacked(cache: Cache, upstream: FakeRegistry) -> None:
    layers = [blob(900, seed="a"), blob(900, seed="b")]
    config = config_for(OWN.digest, BASE.digest)
    manifest = manifest_of(*layers, config=config)
    upstream.add_manifest(NAME, manifest, tag="1")
    upstream.add_blob(NAME, config)

    assert (await cache.get_manifest(NAME, "1")).status == 200
    assert (await cache.get_blob(NAME, config.digest)).status == 200
    await cache.wait_for_fills()
    await settled("learn layers")

    assert [await diff_id_of(cache, layer.digest) for layer in layers] == [{OWN.digest}, {BASE.digest}]


async def test_what_was_pushed_teaches_nothing(cache: Cache, upstream: FakeRegistry) -> None:
    """A pusher names an upstream's layer and its config, and pairs them as it likes."""
    config = config_for(OWN.digest)
    upstream.add_image(NAME, BASE, tag="1")
    upstream.add_manifest(TWIN, manifest_of(blob(1, seed="x"), blob(1, seed="y"), config=config), tag="1")
    upstream.add_blob(TWIN, config)
    for name in (NAME, TWIN):
        assert (await cache.get_manifest(name, "1")).status == 200
    assert (await put_manifest(cache, manifest_of(BASE.layers[0], config=config), "1")).status == 201

    assert (await cache.get_blob(TWIN, config.digest)).status == 200
    await cache.wait_for_fills()
    await settled("learn layers")

    assert await diff_id_of(cache, BASE.layers[0].digest) == {None}
