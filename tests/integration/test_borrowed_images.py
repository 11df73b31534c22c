"""Images of which the base is borrowed: pushed without it, given from its origin, deleted and collected."""

import asyncio

import pytest

from proxycache.store.garbage import GRACE_SECONDS
from tests.builders import OCI_INDEX, OCI_MANIFEST, index, json_content
from tests.fakes.clock import FakeClock
from tests.fakes.faults import cut, stall
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    BOTH,
    CANONICAL,
    CONFIG,
    FIRST_LAYER,
    HOUR,
    LENT,
    NAME,
    ON_BASE,
    ON_TWO,
    OWN,
    SECOND_LAYER,
    Workers,
    asked,
    evict_all,
    head,
    hold,
    learn,
    loans,
    mount,
    owned,
    push_on_base,
    sizes,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP, OTHER, missing_of, push_blob, put_manifest

# --- pushes ---


@pytest.mark.parametrize("is_held", [False, True])
async def test_of_an_image_only_what_is_private_is_sent_and_owned(
    workers: Workers, upstream: FakeRegistry, *, is_held: bool
) -> None:
    await learn(workers[0], upstream)
    if is_held:
        await hold(workers[0], *BASE.layers)
    upstream.requests.clear()

    answer = await push_on_base(workers[1])

    assert (answer.status, upstream.requests) == (201, [])
    assert (await loans(workers[0]), await owned(workers[0])) == (LENT, {OWN.digest, CONFIG.digest})
    rows = await workers[0].parts.database.fetch("SELECT digest FROM blobs WHERE is_owned = 1")
    assert {digest for (digest,) in rows} == {OWN.digest, CONFIG.digest, ON_BASE.digest}
    assert (await workers[0].get_manifest(APP, "v1")).body == ON_BASE.body
    for each in (*BASE.layers, OWN, CONFIG):
        assert (await workers[0].get_blob(APP, each.digest)).body == each.body
    assert asked(upstream) == ([] if is_held else [("GET", layer.digest) for layer in BASE.layers])


async def test_a_push_asks_for_what_was_not_seen_for_an_hour(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    clock.advance(HOUR)

    assert [(await put_manifest(cache, ON_BASE, "v2")).status for _ in range(2)] == [201, 201]

    assert sorted(asked(upstream)) == sorted(("HEAD", layer.digest) for layer in BASE.layers)
    assert await loans(cache) == LENT


async def test_an_index_whose_children_only_an_origin_has(workers: Workers, upstream: FakeRegistry) -> None:
    nested = index([ON_TWO, BASE])
    await learn(workers[0], upstream, nested)

    answer = await put_manifest(workers[0], nested.manifest, "all")

    assert answer.status == 201
    assert {digest for method, digest in asked(upstream) if method == "GET"} == {
        each.digest for each in nested.manifests() if each != nested.manifest
    }
    assert set(await loans(workers[1])) == {each.digest for each in nested.blobs()}
    for each in nested.manifests():
        assert (await workers[1].get_manifest(APP, each.digest)).body == each.body
    await evict_all(workers[1])
    for blob_of_it in nested.blobs():
        assert (await workers[1].get_blob(APP, blob_of_it.digest)).body == blob_of_it.body


async def test_a_layer_is_no_child(cache: Cache, upstream: FakeRegistry) -> None:
    await learn(cache, upstream)
    claimed = FIRST_LAYER.descriptor(mediaType=OCI_MANIFEST)

    answer = await put_manifest(cache, json_content({"schemaVersion": 2, "manifests": [claimed]}, OCI_INDEX))

    assert missing_of(answer) == {FIRST_LAYER.digest}


async def test_an_index_of_layers_as_caches_of_buildkit_are_borrows(cache: Cache, upstream: FakeRegistry) -> None:
    await learn(cache, upstream)
    named = json_content({"schemaVersion": 2, "manifests": [layer.descriptor() for layer in BASE.layers]}, OCI_INDEX)

    assert (await put_manifest(cache, named, "cache")).status == 201

    assert await loans(cache) == LENT


async def test_a_sparse_push_borrows_what_there_is(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(sparse=True)
    await learn(cache, upstream)

    assert (await put_manifest(cache, ON_BASE, "v1")).status == 201

    assert (await loans(cache), await owned(cache)) == (LENT, set())


async def test_an_upload_of_what_is_borrowed_makes_it_owned(workers: Workers, upstream: FakeRegistry) -> None:
    await learn(workers[0], upstream)
    assert (await push_on_base(workers[0])).status == 201

    await push_blob(workers[1], FIRST_LAYER)

    assert (await loans(workers[0]), FIRST_LAYER.digest in await owned(workers[0])) == (
        {SECOND_LAYER.digest: CANONICAL},
        True,
    )
    await upstream.stop()
    assert (await workers[0].get_blob(APP, FIRST_LAYER.digest)).body == FIRST_LAYER.body


async def test_what_one_repository_borrows_another_borrows_for_itself(cache: Cache, upstream: FakeRegistry) -> None:
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201

    answer = await cache.send("POST", f"/v2/{OTHER}/blobs/uploads/?mount={FIRST_LAYER.digest}&from={APP}")

    assert answer.status == 202
    assert (await cache.get_blob(OTHER, FIRST_LAYER.digest)).status == 404
    assert (await head(cache, FIRST_LAYER, OTHER)).status == 200


# --- deletions and collections ---


async def test_what_is_borrowed_can_be_deleted_once_nothing_needs_it(workers: Workers, upstream: FakeRegistry) -> None:
    await learn(workers[0], upstream)
    assert (await push_on_base(workers[0])).status == 201
    path = f"/v2/{APP}/blobs/{FIRST_LAYER.digest}"

    assert (await workers[0].ask("DELETE", path)).status == 405
    assert (await workers[0].ask("DELETE", f"/v2/{APP}/manifests/{ON_BASE.digest}")).status == 202
    assert (await workers[1].get(path)).status == 200
    assert (await workers[0].ask("DELETE", path)).status == 202

    assert (await workers[1].get(path)).status == 404
    assert (await workers[1].ask("DELETE", path)).status == 404
    assert await loans(workers[0]) == {SECOND_LAYER.digest: CANONICAL}


async def test_only_what_nothing_needs_is_collected_and_after_its_grace(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(cache, upstream)
    assert (await mount(cache, f"&from={NAME}")).status == 201
    clock.advance(GRACE_SECONDS - 1)
    await cache.collect()
    assert await loans(cache) == {FIRST_LAYER.digest: CANONICAL}
    assert (await push_on_base(cache)).status == 201
    clock.advance(100 * GRACE_SECONDS)
    await cache.collect()
    assert await loans(cache) == LENT

    assert (await cache.ask("DELETE", f"/v2/{APP}/manifests/{ON_BASE.digest}")).status == 202
    await cache.collect()
    assert await loans(cache) == LENT
    clock.advance(GRACE_SECONDS + 1)
    await cache.collect()

    assert await loans(cache) == {}


# --- pulls ---


@pytest.fixture
async def pushed(workers: Workers, upstream: FakeRegistry) -> Workers:
    """Two workers with an image that borrows all of its base, none of which they hold."""
    await learn(workers[0], upstream)
    assert (await push_on_base(workers[0])).status == 201
    return workers


async def test_what_is_held_comes_from_the_disk(pushed: Workers, upstream: FakeRegistry) -> None:
    await hold(pushed[0], *BASE.layers)
    await upstream.stop()

    for cache in pushed:
        for layer in BASE.layers:
            got = await cache.get_blob(APP, layer.digest)
            assert (got.status, got.body) == (200, layer.body)
        assert await sizes(cache, *BASE.layers) == BOTH


@pytest.mark.parametrize("wanted", ["0-9", "40000-", "-500", "99999-99999"])
async def test_a_range_of_what_is_not_held_comes_from_the_fill(pushed: Workers, wanted: str) -> None:
    got = await pushed[1].get_range(APP, FIRST_LAYER.digest, wanted)

    first, _, last = wanted.partition("-")
    begin = int(first) if first else FIRST_LAYER.size - int(last)
    end = int(last) + 1 if first and last else FIRST_LAYER.size
    assert (got.status, got.body) == (206, FIRST_LAYER.body[begin:end])
    assert (await pushed[1].get_range(APP, FIRST_LAYER.digest, "100000-")).status == 416


async def test_a_fill_that_breaks_off_is_resumed(pushed: Workers, upstream: FakeRegistry) -> None:
    upstream.faults.add(cut(at=60_000), on=FIRST_LAYER.digest)

    got = await pushed[0].get_blob(APP, FIRST_LAYER.digest)

    assert (got.body, got.is_complete) == (FIRST_LAYER.body, True)
    assert [seen.headers.get("Range") for seen in upstream.requests] == [None, "bytes=60000-"]


async def test_clients_of_all_workers_and_names_share_a_fill(pushed: Workers, upstream: FakeRegistry) -> None:
    gate = Gate()
    upstream.faults.add(stall(gate, at=1000), on=FIRST_LAYER.digest)

    async with asyncio.TaskGroup() as group:
        asking = [
            group.create_task(cache.get_blob(name, FIRST_LAYER.digest)) for cache in pushed for name in (APP, NAME)
        ]
        await gate.arrived.wait()
        gate.open()

    assert [each.result().body for each in asking] == [FIRST_LAYER.body] * 4
    assert asked(upstream) == [("GET", FIRST_LAYER.digest)]


async def test_an_eviction_of_what_is_borrowed_breaks_nothing(pushed: Workers, upstream: FakeRegistry) -> None:
    assert (await pushed[0].get_blob(APP, FIRST_LAYER.digest)).status == 200
    await pushed[0].wait_for_fills()
    assert pushed[0].holds(FIRST_LAYER.digest)

    await evict_all(pushed[1])

    assert not pushed[0].holds(FIRST_LAYER.digest)
    assert await loans(pushed[0]) == LENT
    for cache in pushed:
        assert (await cache.get_blob(APP, FIRST_LAYER.digest)).body == FIRST_LAYER.body
    assert {digest for _, digest in asked(upstream)} == {FIRST_LAYER.digest}


async def test_where_nothing_more_is_lent_what_is_borrowed_is_still_given(
    pushed: Workers, start: StartCache, upstream: FakeRegistry
) -> None:
    cache = await start(borrow="off")

    assert await sizes(cache, *BASE.layers) == BOTH
    assert (await put_manifest(cache, ON_BASE, "v2")).status == 201
    for layer in BASE.layers:
        assert (await cache.get_blob(APP, layer.digest)).body == layer.body


async def test_what_may_no_longer_be_borrowed_is_not_given(pushed: Workers, start: StartCache) -> None:
    cache = await start(deny=(CANONICAL,))

    assert (await cache.get_blob(APP, FIRST_LAYER.digest)).code == "BLOB_UNKNOWN"
    assert await sizes(cache, *BASE.layers) == [None, None]
    assert missing_of(await put_manifest(cache, ON_BASE, "v2")) == set(LENT)
