"""What is borrowed becomes owned (adopt), and what is owned is borrowed again (lend)."""

from dataclasses import replace

from proxycache.maintenance.adopt_borrowed import PushSignal, adopt_borrowed
from proxycache.store.garbage import GRACE_SECONDS
from tests.builders import Content, image
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    CANONICAL,
    LENT,
    NAME,
    OWN,
    TWIN,
    asked,
    borrow,
    loans,
    push_on,
    remove_file,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP, push_blob


async def pull_layers(cache: Cache) -> list[int]:
    return [(await cache.get_blob(APP, layer.digest)).status for layer in BASE.layers]


# --- adopt ---


async def test_what_is_borrowed_is_adopted_where_that_is_the_mode(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(borrow="adopt")
    await borrow(cache, upstream)
    await (await start(borrow="adopt")).jobs.adoption.adopt()  # as after a restart, or by another worker
    await upstream.stop()

    assert await loans(cache) == {}
    assert await pull_layers(cache) == [200, 200]
    assert await cache.parts.tables.usage.cached_bytes() == 4096  # the manifest of the base
    await upstream.start()


async def test_a_push_is_followed_by_adoption(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(borrow="adopt")
    pushed = PushSignal()
    cache.parts.events.subscribe(pushed.note)
    jobs = cache.jobs
    cache.parts.tasks.detach("adopt", adopt_borrowed(lambda: jobs.adoption, cache.parts.leases, pushed))

    await borrow(cache, upstream)

    assert await cache.wait_for_fills(2) == ["published", "published"]
    while await loans(cache):
        pass
    assert upstream.count("GET", "/blobs/") == 2


async def test_where_the_mode_is_lazy_only_what_is_pinned_is_adopted(cache: Cache, upstream: FakeRegistry) -> None:
    await borrow(cache, upstream)
    other = image(layers=1, seed="other")
    upstream.add_image(TWIN, other, tag="1")
    assert (await cache.get_manifest(TWIN, "1")).status == 200
    await push_on(cache, other, "pinned")

    await cache.jobs.adoption.adopt()
    before = await loans(cache)
    await cache.parts.tables.pins.add(APP, "pinned", now=1.0)
    await cache.jobs.adoption.adopt()

    assert len(before) == 3
    assert await loans(cache) == LENT


async def test_what_cannot_be_had_stays_borrowed(cache: Cache, upstream: FakeRegistry) -> None:
    await borrow(cache, upstream)
    lost = BASE.layers[0]
    del upstream.repository(NAME).blobs[lost.digest]

    whys = {
        str(each.digest): await cache.jobs.adopter.adopt(each) for each in await cache.parts.tables.loans.list_of(APP)
    }

    assert whys == {lost.digest: "docker.io: not found", BASE.layers[1].digest: ""}
    assert await loans(cache) == {lost.digest: CANONICAL}


async def test_what_there_is_no_room_for_is_told(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(max_size=8 * 1024 * 1024)
    large = image(layers=1, layer_size=12 * 1024 * 1024, seed="large")
    await borrow(cache, upstream, large)
    [loan] = await cache.parts.tables.loans.list_of(APP)

    assert await cache.jobs.adopter.adopt(loan) == "there is no room for it"

    assert await loans(cache) == {large.layers[0].digest: CANONICAL}


# --- lend ---


async def lend_all(cache: Cache) -> list[str]:
    lender = cache.jobs.lender
    lent = [(layer, await lender.lend(APP, layer)) for layer in await lender.list_layers(APP, "v1")]
    return [str(layer.digest) for layer, origin in lent if origin is not None]


async def owned_image(cache: Cache, upstream: FakeRegistry) -> Content:
    """Push an image whole, whose layers an upstream has and says so only later."""
    for layer in BASE.layers:
        await push_blob(cache, layer)
    pushed = await push_on(cache, BASE)
    upstream.add_image(NAME, BASE, tag="1")
    assert (await cache.get_manifest(NAME, "1")).status == 200
    upstream.requests.clear()
    return pushed


async def test_lent_layers_are_borrowed_and_their_bytes_may_go(cache: Cache, upstream: FakeRegistry) -> None:
    await owned_image(cache, upstream)
    cached = await cache.parts.tables.usage.cached_bytes()

    lent = await lend_all(cache)

    assert sorted(lent) == sorted(layer.digest for layer in BASE.layers)
    assert sorted(asked(upstream)) == sorted(("HEAD", digest) for digest in lent)
    assert await loans(cache) == dict.fromkeys(lent, CANONICAL)
    assert await cache.parts.tables.usage.cached_bytes() == cached + 2 * 102_400  # whole pages
    candidates = {each.digest for each in await cache.parts.tables.usage.list_next(10)}
    assert set(lent) <= candidates
    assert OWN.digest not in candidates
    for layer in BASE.layers:
        await remove_file(cache, layer)
    assert await pull_layers(cache) == [200, 200]


async def test_what_an_origin_does_not_have_now_is_not_lent(cache: Cache, upstream: FakeRegistry) -> None:
    await owned_image(cache, upstream)
    gone, other_size = BASE.layers
    blobs = upstream.repository(NAME).blobs
    del blobs[gone.digest]
    blobs[other_size.digest] = replace(other_size, body=other_size.body[:-1])

    assert await lend_all(cache) == []

    assert await loans(cache) == {}


async def test_what_another_repository_owns_stays_owned(cache: Cache, upstream: FakeRegistry) -> None:
    await owned_image(cache, upstream)
    await push_blob(cache, BASE.layers[0], "local/other")

    assert len(await lend_all(cache)) == 2

    candidates = {each.digest for each in await cache.parts.tables.usage.list_next(10)}
    assert BASE.layers[0].digest not in candidates
    assert BASE.layers[1].digest in candidates


async def test_what_was_lent_is_not_collected(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    await owned_image(cache, upstream)
    await lend_all(cache)
    clock.advance(2 * GRACE_SECONDS)

    await cache.collect()

    assert len(await loans(cache)) == 2
