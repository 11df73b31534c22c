"""What a public upstream has is known from what came through, offered to who pushes, and mounted."""

import json

import pytest

from proxycache.upstream.settings import Secret
from tests.builders import OCI_MANIFEST, Content, blob, content, image, json_content
from tests.fakes.auth import TokenAuth
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    BOTH,
    CANONICAL,
    CANONICAL_TWIN,
    FIRST_LAYER,
    HOUR,
    LENT,
    NAME,
    ON_TWO,
    OWN,
    SECOND_LAYER,
    TWIN,
    Workers,
    asked,
    evict_all,
    head,
    hold,
    learn,
    ledger,
    loans,
    lose,
    mount,
    owned,
    push_on_base,
    sizes,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import ELSEWHERE, Cache
from tests.integration.pushing import APP, manifest_of, missing_of, push_blob

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
