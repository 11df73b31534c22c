"""Bases of which something was forgotten, or could not be had, are learnt anew."""

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.registry.learn_base import BaseLearner
from proxycache.store.purge import Wanted
from tests.builders import blob
from tests.fakes.clock import FakeClock
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    BOTH,
    CANONICAL,
    CANONICAL_TWIN,
    FIRST_LAYER,
    HOUR,
    NAME,
    SECOND_LAYER,
    TAGGED,
    TWIN,
    asked,
    config_for,
    learn,
    lose,
    sizes,
)
from tests.integration.harness import Cache
from tests.integration.pushing import manifest_of

LAYERS = [blob(900, seed="a"), blob(900, seed="b")]
CONFIG = config_for(*(layer.digest for layer in LAYERS))
WITH_CONFIG = manifest_of(*LAYERS, config=CONFIG)


async def is_learnt_now(learner: BaseLearner) -> bool:
    return (await learner.learn(TAGGED)).is_new


async def purge(cache: Cache, name: str = CANONICAL) -> None:
    await cache.parts.tables.purge.forget(Wanted(names=[name]), is_dry=False)


async def diff_ids(cache: Cache) -> set[str | None]:
    rows = await cache.parts.database.fetch("SELECT diff_id FROM origins WHERE digest = ?", (LAYERS[0].digest,))
    return {diff_id for (diff_id,) in rows}


async def test_a_base_is_learnt_again_after_a_purge_of_its_repository(cache: Cache, upstream: FakeRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="1")
    assert await is_learnt_now(cache.jobs.learner)
    await purge(cache, CANONICAL_TWIN)
    assert not await is_learnt_now(cache.jobs.learner)

    await purge(cache)

    assert await sizes(cache, *BASE.layers) == [None, None]
    assert await is_learnt_now(cache.jobs.learner)
    assert await sizes(cache, *BASE.layers) == BOTH


async def test_a_base_of_which_a_part_was_forgotten_is_learnt_again_and_its_origin_asked(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    """Its manifest is here, and says nothing of whether the layer is back."""
    upstream.add_image(NAME, BASE, tag="1")
    assert await is_learnt_now(cache.jobs.learner)
    lose(upstream, FIRST_LAYER)
    clock.advance(HOUR)
    assert await sizes(cache, FIRST_LAYER) == [None]

    assert await is_learnt_now(cache.jobs.learner)
    still_gone = await sizes(cache, FIRST_LAYER)
    upstream.add_blob(NAME, FIRST_LAYER)
    assert await is_learnt_now(cache.jobs.learner)

    assert still_gone == [None]
    assert await sizes(cache, FIRST_LAYER, SECOND_LAYER) == BOTH
    assert not await is_learnt_now(cache.jobs.learner)


async def test_what_another_image_lost_is_no_reason_to_learn_a_base_again(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    upstream.add_manifest(NAME, WITH_CONFIG, tag="1")
    upstream.add_blob(NAME, CONFIG)
    assert await is_learnt_now(cache.jobs.learner)
    await learn(cache, upstream, BASE, tag="2")
    lose(upstream, FIRST_LAYER)
    clock.advance(HOUR)
    assert await sizes(cache, FIRST_LAYER) == [None]

    assert not await is_learnt_now(cache.jobs.learner)


async def test_a_manifest_that_was_here_by_another_name_says_not_that_its_layers_were_seen(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(cache, upstream, BASE, name=TWIN)
    upstream.add_image(NAME, BASE, tag="1")

    assert await is_learnt_now(cache.jobs.learner)

    known = await cache.parts.tables.origins.list_origins(parse_digest(FIRST_LAYER.digest))
    assert {each.repository: each.seen_at for each in known} == {CANONICAL_TWIN: clock.now(), CANONICAL: 0.0}


@pytest.mark.parametrize("status", [500, 429])
async def test_a_config_that_could_not_be_had_is_asked_for_the_next_time(
    cache: Cache, upstream: FakeRegistry, status: int
) -> None:
    upstream.add_manifest(NAME, WITH_CONFIG, tag="1")
    upstream.add_blob(NAME, CONFIG)
    fault = upstream.faults.add(answer(status), on=CONFIG.digest, times=None)
    assert await is_learnt_now(cache.jobs.learner)
    assert await diff_ids(cache) == {None}
    upstream.faults.remove(fault)

    assert await is_learnt_now(cache.jobs.learner)

    assert await diff_ids(cache) == {LAYERS[0].digest}
    assert not await is_learnt_now(cache.jobs.learner)


async def test_a_config_that_is_not_there_is_not_asked_for_again(cache: Cache, upstream: FakeRegistry) -> None:
    upstream.add_manifest(NAME, WITH_CONFIG, tag="1")
    assert await is_learnt_now(cache.jobs.learner)
    upstream.requests.clear()

    assert not await is_learnt_now(cache.jobs.learner)

    assert asked(upstream) == [("HEAD", "1")]
