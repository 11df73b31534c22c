"""`offline = true`: nobody is contacted, everything held is fresh, everything else fails at once."""

import asyncio

import pytest

from proxycache.upstream.settings import Secret
from tests.builders import blob, image, referrer
from tests.integration.harness import ELSEWHERE

NAME = "library/alpine"
IMAGE = image(layers=1, layer_size=300_000)
LAYER = IMAGE.layers[0].digest


@pytest.fixture
async def cache(start, upstream, clock):
    """An offline cache that holds what another one pulled a year ago."""
    upstream.add_image(NAME, IMAGE, tag="3")
    upstream.add_image(NAME, referrer(IMAGE))
    before = await start()
    for path in (f"/v2/{NAME}/manifests/3", f"/v2/{NAME}/blobs/{LAYER}", f"/v2/{NAME}/referrers/{IMAGE.digest}"):
        await before.get(path)
    await before.wait_for_fills()
    await before.stop()
    clock.advance(365 * 86_400)
    upstream.requests.clear()
    return await start(offline=True)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("thing", ["manifests/3", f"manifests/{IMAGE.digest}", f"blobs/{LAYER}"])
async def test_everything_held_is_fresh(cache, upstream, method, thing):
    got = [await cache.ask(method, f"/v2/{NAME}/{thing}") for _ in range(2)]

    assert [(each.status, "Warning" in each.headers) for each in got] == [(200, False)] * 2
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("thing", ["manifests/4", f"manifests/{blob(1).digest}", f"blobs/{blob(1).digest}"])
async def test_everything_else_fails_at_once(cache, upstream, method, thing):
    async with asyncio.timeout(0.5):
        got = await cache.ask(method, f"/v2/{NAME}/{thing}")

    assert got.status == 504
    assert upstream.requests == []


async def test_lists_are_of_what_is_held(cache, upstream):
    tags = await cache.get(f"/v2/{NAME}/tags/list")
    referrers = await cache.get(f"/v2/{NAME}/referrers/{IMAGE.digest}")

    assert tags.json()["tags"] == ["3"]
    assert [each["digest"] for each in referrers.json()["manifests"]] == [referrer(IMAGE).digest]
    assert upstream.requests == []


async def test_a_fill_that_was_left_half_way_waits_for_better_days(cache, upstream):
    left = blob(300_000, seed="left")
    (cache.parts.layout.spools / f"{left.digest.replace(':', '-')}.data").write_bytes(left.body[:100_000])

    got = await cache.get(f"/v2/{NAME}/blobs/{left.digest}")

    assert (got.status, upstream.requests) == (504, [])


async def test_what_nobody_asked_to_be_public_is_for_this_machine_only(start, upstream):
    upstream.add_image(NAME, IMAGE, tag="3")
    ann = {"username": "ann", "password": Secret("secret")}
    before = await start()
    await before.get_manifest(NAME, "3")
    await before.stop()

    cache = await start(offline=True, **ann)
    mine, theirs = await cache.get_manifest(NAME, "3"), await cache.get_manifest(NAME, "3", ELSEWHERE)

    assert (mine.status, theirs.status) == (200, 404)
