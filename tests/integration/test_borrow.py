"""What a public upstream has is known from what came through, offered to pushers, borrowed, and given from there."""

import asyncio
import json

import pytest

from proxycache.store.garbage import GRACE_SECONDS
from proxycache.upstream.settings import Secret
from tests.builders import OCI_INDEX, OCI_MANIFEST, Content, blob, content, image, index, json_content
from tests.fakes.auth import TokenAuth
from tests.fakes.clock import FakeClock
from tests.fakes.faults import cut, stall
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    CANONICAL,
    CANONICAL_TWIN,
    CONFIG,
    FIRST_LAYER,
    HOUR,
    NAME,
    ON_BASE,
    OWN,
    SECOND_LAYER,
    TWIN,
    asked,
    evict_all,
    head,
    hold,
    learn,
    ledger,
    loans,
    lose,
    owned,
    push_on_base,
    sizes,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import ELSEWHERE, Answer, Cache
from tests.integration.pushing import APP, OTHER, manifest_of, missing_of, push_blob, put_manifest

PLATFORMS = ("linux/amd64", "linux/arm64")
ON_TWO = image(platforms=PLATFORMS, seed="two")
BOTH = [FIRST_LAYER.size, SECOND_LAYER.size]
LENT = dict.fromkeys((FIRST_LAYER.digest, SECOND_LAYER.digest), CANONICAL)
Workers = tuple[Cache, Cache]


# --- the ledger ---


@pytest.mark.parametrize("by_digest", [False, True])
async def test_each_manifest_that_comes_through_tells_who_has_what(
    workers: Workers, upstream: FakeRegistry, *, by_digest: bool
) -> None:
    upstream.add_image(NAME, ON_TWO, tag="1")
    first, second = ON_TWO.children
    assert first.config is not None

    await workers[0].get_manifest(NAME, ON_TWO.digest if by_digest else "1")
    await workers[0].get_manifest(NAME, first.digest)

    for known in (ON_TWO.manifest, first.manifest, second.manifest, first.config, *first.layers):
        size, media_type = (await ledger(workers[1], known))[CANONICAL]
        assert size == known.size
        assert media_type in (known.media_type, "application/octet-stream")
    assert await ledger(workers[1], second.layers[0]) == {}


async def test_a_fill_tells_who_has_it_and_an_eviction_takes_nothing_back(
    start: StartCache, upstream: FakeRegistry
) -> None:
    cache = await start()
    layer = upstream.add_blob(NAME, blob(5000))
    await learn(cache, upstream)
    await hold(cache, layer)

    await evict_all(cache)
    await cache.stop()
    again = await start()
    upstream.requests.clear()

    assert not again.holds(layer.digest)
    assert await sizes(again, layer, *BASE.layers) == [5000, *BOTH]
    assert upstream.requests == []


async def test_a_manifest_that_is_held_already_tells_who_else_has_it(
    cache: Cache, upstream: FakeRegistry, other_upstream: FakeRegistry
) -> None:
    await learn(cache, other_upstream, ON_TWO, name="ghcr.io/org/two")
    for child in ON_TWO.children:
        await cache.get_manifest("ghcr.io/org/two", child.digest)
    layer = ON_TWO.children[1].layers[1]
    assert await sizes(cache, layer) == [None]

    await learn(cache, upstream, ON_TWO)

    assert set(await ledger(cache, layer)) == {CANONICAL, "ghcr.io/org/two"}
    assert await sizes(cache, layer) == [layer.size]
    assert asked(upstream) == [("HEAD", layer.digest)]


# --- HEAD ---


async def test_what_an_origin_has_is_there_for_who_pushes(workers: Workers, upstream: FakeRegistry) -> None:
    await learn(workers[0], upstream)

    answers = [await head(cache, FIRST_LAYER) for cache in workers]

    for answer in answers:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(FIRST_LAYER.size))
        assert answer.headers["Docker-Content-Digest"] == FIRST_LAYER.digest
    assert upstream.requests == []


async def test_what_is_only_offered_is_given_to_nobody(cache: Cache, upstream: FakeRegistry) -> None:
    await learn(cache, upstream)
    await hold(cache, FIRST_LAYER)
    upstream.requests.clear()
    assert await sizes(cache, *BASE.layers) == BOTH

    assert [(await cache.get_blob(APP, layer.digest)).status for layer in BASE.layers] == [404, 404]
    assert (await head(cache, FIRST_LAYER, headers=ELSEWHERE)).status == 404
    assert (await cache.get_manifest(APP, BASE.digest)).status == 404
    assert (await cache.head_manifest(APP, BASE.digest)).status == 404
    assert await sizes(cache, BASE.manifest, blob(9)) == [None, None]
    assert upstream.requests == []


async def test_an_origin_is_asked_once_an_hour(workers: Workers, upstream: FakeRegistry, clock: FakeClock) -> None:
    await learn(workers[0], upstream)
    clock.advance(HOUR)

    assert [await sizes(cache, FIRST_LAYER) for cache in (*workers, *workers)] == [[FIRST_LAYER.size]] * 4

    assert asked(upstream) == [("HEAD", FIRST_LAYER.digest)]
    clock.advance(HOUR)
    assert await sizes(workers[1], FIRST_LAYER) == [FIRST_LAYER.size]
    assert asked(upstream) == [("HEAD", FIRST_LAYER.digest)] * 2


async def test_a_clock_that_was_set_back_makes_nothing_fresh(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    clock.jump(1000 * HOUR)
    await learn(cache, upstream)
    clock.jump(-1000 * HOUR)

    assert [await sizes(cache, FIRST_LAYER) for _ in range(2)] == [[FIRST_LAYER.size]] * 2

    assert asked(upstream) == [("HEAD", FIRST_LAYER.digest)]


async def test_what_nobody_may_lend_is_not_there(start: StartCache, upstream: FakeRegistry) -> None:
    await learn(await start(), upstream)
    for settings in (
        {"borrow": "off"},
        {"borrow_from": ("ghcr.io",)},
        {"borrow_from": ()},
        {"deny": (f"{CANONICAL}",)},
        {"allow": ("docker.io/library/other",)},
        {"visibility": "private"},
        {"offline": True},
    ):
        cache = await start(**settings)

        assert await sizes(cache, *BASE.layers) == [None, None], settings
        mount = await cache.send("POST", f"/v2/{APP}/blobs/uploads/?mount={FIRST_LAYER.digest}&from={NAME}")
        assert mount.status == 202, settings
        assert missing_of(await push_on_base(cache)) == set(LENT), settings
    assert upstream.requests == []


async def test_what_only_our_credential_can_read_is_not_there(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    upstream.auth = TokenAuth(username="hub", password="secret", private={NAME})
    cache = await start(username="hub", password=Secret("secret"))
    await learn(cache, upstream)
    assert await sizes(cache, *BASE.layers) == [None, None]
    await learn(cache, upstream, name=TWIN)
    assert set(await ledger(cache, FIRST_LAYER)) == {CANONICAL, CANONICAL_TWIN}
    assert await sizes(cache, *BASE.layers) == BOTH

    clock.advance(HOUR)
    lose(upstream, *BASE.layers, name=TWIN)

    assert await sizes(cache, *BASE.layers) == [None, None]
    assert (await mount(cache, f"&from={NAME}")).status == 202


async def test_who_contradicts_the_others_is_asked_before_it_is_believed(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(cache, upstream)
    liar = manifest_of(content(FIRST_LAYER.body))
    lie = json_content(_document(liar, FIRST_LAYER, size=5), OCI_MANIFEST)
    upstream.add_manifest("library/liar", lie, tag="1")
    upstream.add_blob("library/liar", FIRST_LAYER)
    clock.advance(1)
    await cache.get_manifest("library/liar", "1")
    assert (await ledger(cache, FIRST_LAYER))["docker.io/library/liar"][0] == 5

    assert await sizes(cache, FIRST_LAYER) == [FIRST_LAYER.size]

    assert set(await ledger(cache, FIRST_LAYER)) == {CANONICAL}


def _document(manifest: Content, layer: Content, *, size: int) -> dict[str, object]:
    document: dict[str, object] = json.loads(manifest.body)
    return document | {"layers": [layer.descriptor(size=size)]}


async def test_what_was_got_tells_better_than_a_manifest_how_large_it_is(cache: Cache, upstream: FakeRegistry) -> None:
    lie = json_content(_document(manifest_of(OWN), FIRST_LAYER, size=5), OCI_MANIFEST)
    upstream.add_manifest(NAME, lie, tag="1")
    upstream.add_blob(NAME, FIRST_LAYER)
    await cache.get_manifest(NAME, "1")

    await hold(cache, FIRST_LAYER)

    assert await ledger(cache, FIRST_LAYER) == {CANONICAL: (FIRST_LAYER.size, FIRST_LAYER.media_type)}


# --- mounts ---


async def mount(cache: Cache, query: str, headers: dict[str, str] | None = None) -> Answer:
    return await cache.send("POST", f"/v2/{APP}/blobs/uploads/?mount={FIRST_LAYER.digest}{query}", headers=headers)


FROM = {
    "bare": "from=library/base",
    "one part": "from=base",
    "canonical": "from=docker.io/library/base",
    "another name of Docker Hub": "from=index.docker.io/library/base",
    "crane": "from=library/base&origin=index.docker.io",
    "crane, through the cache": "from=library/base&origin={host}",
    "crane, by name through the cache": "from=docker.io/library/base&origin={host}",
}


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("source", FROM.values(), ids=FROM)
async def test_a_mount_from_an_upstream_borrows(
    cache: Cache, upstream: FakeRegistry, source: str, *, is_known: bool
) -> None:
    upstream.add_image(NAME, BASE, tag="1")
    if is_known:
        await learn(cache, upstream)

    answer = await mount(cache, "&" + source.format(host=cache.url.removeprefix("http://")))

    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/{APP}/blobs/{FIRST_LAYER.digest}")
    assert asked(upstream) == ([] if is_known else [("HEAD", FIRST_LAYER.digest)])
    assert (await loans(cache), await owned(cache)) == ({FIRST_LAYER.digest: CANONICAL}, set())
    assert not cache.holds(FIRST_LAYER.digest)
    assert (await cache.get(f"/v2/{APP}/tags/list")).json()["tags"] == []
    assert (await cache.get_blob(APP, FIRST_LAYER.digest)).body == FIRST_LAYER.body


@pytest.mark.parametrize("source", ["&from=ghcr.io/org/base", "&from=org/base&origin=ghcr.io"])
async def test_a_mount_from_another_upstream_borrows_where_that_lends(
    start: StartCache, other_upstream: FakeRegistry, source: str
) -> None:
    other_upstream.add_image("org/base", BASE, tag="1")

    assert (await mount(await start(), source)).status == 202
    assert (await mount(await start(borrow_from=("docker.io", "ghcr.io")), source)).status == 201


async def test_a_mount_from_nowhere_in_particular_borrows_what_is_known(cache: Cache, upstream: FakeRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="1")
    assert (await mount(cache, "")).status == 202
    await learn(cache, upstream)

    assert (await mount(cache, "")).status == 201

    assert (upstream.requests, await loans(cache)) == ([], {FIRST_LAYER.digest: CANONICAL})


@pytest.mark.parametrize(
    "source", ["&from=library/other", "&from=quay.io/org/base", "&from=library/base&origin=nowhere.example", "&from="]
)
async def test_what_cannot_be_mounted_is_uploaded_in_the_session(
    cache: Cache, upstream: FakeRegistry, source: str
) -> None:
    upstream.add_image("library/other", image(seed="other"), tag="1")

    answer = await mount(cache, source)

    assert answer.status == 202
    finished = await cache.send("PUT", f"{answer.headers['Location']}?digest={FIRST_LAYER.digest}", FIRST_LAYER.body)
    assert finished.status == 201
    assert (await loans(cache), await owned(cache)) == ({}, {FIRST_LAYER.digest})


async def test_what_is_owned_stays_that(cache: Cache, upstream: FakeRegistry) -> None:
    await push_blob(cache, FIRST_LAYER)
    await learn(cache, upstream)

    assert (await mount(cache, f"&from={NAME}")).status == 201
    assert (await push_on_base(cache)).status == 201

    assert (await loans(cache), upstream.requests) == ({SECOND_LAYER.digest: CANONICAL}, [])


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
