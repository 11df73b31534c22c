"""What a pinned tag is made of is not lent, by whichever tag: it would be adopted again."""

import pytest

from tests.builders import Content, blob
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import BASE, CANONICAL, FIRST_LAYER, NAME, SECOND_LAYER, loans, owned
from tests.integration.harness import Cache
from tests.integration.pushing import APP, OTHER, manifest_of, push_blob, put_manifest

SHARED, ONLY_IN_FIRST = FIRST_LAYER, SECOND_LAYER
ONLY_IN_SECOND = blob(900, seed="only in the second")
EMPTY_CONFIG = blob(2, seed="config")
FIRST = manifest_of(SHARED, ONLY_IN_FIRST, config=EMPTY_CONFIG)
SECOND = manifest_of(SHARED, ONLY_IN_SECOND, config=EMPTY_CONFIG)


async def push_owned(cache: Cache, manifest: Content, tag: str, repository: str = APP) -> None:
    for each in (SHARED, ONLY_IN_FIRST, ONLY_IN_SECOND, EMPTY_CONFIG):
        await push_blob(cache, each, repository)
    assert (await put_manifest(cache, manifest, tag, repository)).status == 201


@pytest.fixture
async def two_tags(cache: Cache, upstream: FakeRegistry) -> Cache:
    """A cache with two images that own all they have, and share a layer that an upstream has as well."""
    await push_owned(cache, FIRST, "v1")
    await push_owned(cache, SECOND, "v2")
    upstream.add_image(NAME, BASE, tag="1")
    assert (await cache.get_manifest(NAME, "1")).status == 200
    return cache


async def lend(cache: Cache, tag: str) -> None:
    lender = cache.jobs.lender
    for layer in await lender.list_layers(APP, tag):
        await lender.lend(APP, layer)


@pytest.mark.parametrize("tag", ["v1", ""])
async def test_a_layer_that_a_pinned_tag_shares_stays_owned(two_tags: Cache, tag: str) -> None:
    await two_tags.parts.tables.pins.add(APP, "v2", now=1.0)

    await lend(two_tags, tag)
    lent = await loans(two_tags)
    await two_tags.jobs.adoption.adopt()

    assert lent == await loans(two_tags) == {ONLY_IN_FIRST.digest: CANONICAL}
    assert SHARED.digest in await owned(two_tags)


@pytest.mark.parametrize("pinned", [(APP, "v1"), (APP, "")])
async def test_of_what_is_pinned_itself_nothing_is_lent(two_tags: Cache, pinned: tuple[str, str]) -> None:
    await two_tags.parts.tables.pins.add(*pinned, now=1.0)

    await lend(two_tags, "v1")

    assert await loans(two_tags) == {}


async def test_what_another_repository_pins_that_one_keeps_for_itself(two_tags: Cache) -> None:
    await push_owned(two_tags, FIRST, "v1", OTHER)
    await two_tags.parts.tables.pins.add(OTHER, "", now=1.0)

    await lend(two_tags, "v1")
    lent = await loans(two_tags)
    await two_tags.jobs.adoption.adopt()

    assert lent == await loans(two_tags) == dict.fromkeys((SHARED.digest, ONLY_IN_FIRST.digest), CANONICAL)
    assert SHARED.digest in await owned(two_tags, OTHER)
