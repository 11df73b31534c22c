"""What the upstream no longer has is evicted last; one that could not be asked makes nothing scarce."""

import pytest

from tests.builders import Image, blob, image
from tests.disk import taken
from tests.fakes.faults import answer, rate_limited
from tests.integration.harness import Cache

NAME, OTHER = "library/alpine", "library/other"
MIB = 1024 * 1024
BUDGET = 24 * MIB
FRESH_FOR = 300.0


async def pull(cache: Cache, wanted: Image, tag: str) -> None:
    assert (await cache.get_manifest(NAME, tag)).body == wanted.body
    for layer in wanted.blobs():
        assert (await cache.get_blob(NAME, layer.digest)).body == layer.body
    await cache.wait_for_fills(len(list(wanted.blobs())))


async def pull_much(cache: Cache, upstream) -> None:
    """Pull twice what the budget allows, one after the other: what is not yet recorded cannot be evicted."""
    before = len(cache.fills)
    for number in range(1, 13):
        content = upstream.add_blob(OTHER, blob(4 * MIB, seed=number))
        assert (await cache.get_blob(OTHER, content.digest)).body == content.body
        await cache.wait_for_fills(before + number)


def held(cache: Cache, wanted: Image) -> list[bool]:
    return [cache.holds(layer.digest) for layer in wanted.layers]


@pytest.fixture
async def cache(start) -> Cache:
    return await start(max_size=BUDGET, min_free=0, fresh_for=FRESH_FOR, negative_for=0.0)


@pytest.fixture
def wanted(upstream) -> Image:
    return upstream.add_image(NAME, image(layers=2, layer_size=4 * MIB), tag="1")


async def test_an_image_whose_tag_is_gone_outlives_what_can_be_had_again(cache, upstream, clock, wanted, tmp_path):
    await pull(cache, wanted, "1")
    del upstream.repository(NAME).tags["1"]
    clock.advance(FRESH_FOR + 1)
    assert (await cache.get_manifest(NAME, "1")).status == 404

    await pull_much(cache, upstream)

    assert held(cache, wanted) == [True, True]
    assert (await cache.get_manifest(NAME, wanted.digest)).body == wanted.body
    assert taken(tmp_path / "data") <= BUDGET


async def test_it_goes_when_nothing_else_is_left(cache, upstream, clock, wanted):
    await pull(cache, wanted, "1")
    del upstream.repository(NAME).tags["1"]
    clock.advance(FRESH_FOR + 1)
    assert (await cache.get_manifest(NAME, "1")).status == 404

    huge = upstream.add_blob(NAME, blob(17 * MIB, seed="huge"))
    assert (await cache.get_blob(NAME, huge.digest)).body == huge.body

    assert "passed_through" not in cache.fills
    assert False in held(cache, wanted)


async def test_an_image_whose_tag_came_back_goes_as_others_do(cache, upstream, clock, wanted):
    await pull(cache, wanted, "1")
    del upstream.repository(NAME).tags["1"]
    clock.advance(FRESH_FOR + 1)
    assert (await cache.get_manifest(NAME, "1")).status == 404
    upstream.repository(NAME).tags["1"] = wanted.digest
    assert (await cache.head_manifest(NAME, "1")).status == 200

    await pull_much(cache, upstream)

    assert held(cache, wanted) == [False, False]


@pytest.mark.parametrize("fault", [answer(500), answer(503), answer(401), answer(403), rate_limited()])
async def test_an_upstream_that_could_not_be_asked_makes_nothing_scarce(cache, upstream, clock, wanted, fault):
    await pull(cache, wanted, "1")
    clock.advance(FRESH_FOR + 1)
    upstream.faults.add(fault, on="/manifests/", times=None)
    await cache.get_manifest(NAME, "1")
    upstream.faults.clear()

    await pull_much(cache, upstream)

    assert held(cache, wanted) == [False, False]


async def test_an_upstream_that_is_away_makes_nothing_scarce(cache, upstream, clock, wanted):
    await pull(cache, wanted, "1")
    clock.advance(FRESH_FOR + 1)
    await upstream.stop()
    await cache.get_manifest(NAME, "1")
    await upstream.start()

    await pull_much(cache, upstream)

    assert held(cache, wanted) == [False, False]
