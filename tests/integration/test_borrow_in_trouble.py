"""Origins that lose what is borrowed from them, or cannot be reached: nothing is named that nobody can have."""

import asyncio
import logging

import pytest

from proxycache.store.purge import Wanted
from tests.builders import Content, image, index
from tests.fakes.clock import FakeClock
from tests.fakes.faults import answer, never_answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    BOTH,
    CANONICAL,
    CANONICAL_TWIN,
    CONFIG,
    DAY,
    FIRST_LAYER,
    HOUR,
    LENT,
    NAME,
    ON_BASE,
    OWN,
    SECOND_LAYER,
    TWIN,
    Workers,
    asked,
    evict_all,
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
from tests.integration.harness import Cache
from tests.integration.pushing import APP, manifest_of, missing_of, push_blob, push_image, put_manifest

BEFORE = image(seed="before")


async def tagged(cache: Cache) -> str:
    """Return what v1 points to."""
    return (await cache.head_manifest(APP, "v1")).headers["Docker-Content-Digest"]


# --- HEAD ---


async def test_an_origin_that_is_late_is_asked_once_and_believed_to_have_it_still(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(cache, upstream)
    clock.advance(HOUR)
    upstream.faults.add(never_answer(), on=FIRST_LAYER.digest, times=None)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(sizes(cache, FIRST_LAYER)) for _ in range(5)]

    assert [each.result() for each in asking] == [[FIRST_LAYER.size]] * 5
    assert asked(upstream) == [("HEAD", FIRST_LAYER.digest)]


async def test_an_origin_that_is_down_is_believed_to_have_it_still(
    workers: Workers, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(workers[0], upstream)
    clock.advance(HOUR)
    await upstream.stop()

    assert [await sizes(cache, *BASE.layers) for cache in workers] == [BOTH, BOTH]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_an_origin_that_has_it_no_more_is_forgotten_and_another_one_counts(
    workers: Workers, upstream: FakeRegistry, clock: FakeClock, status: int
) -> None:
    await learn(workers[0], upstream, name=TWIN)
    await learn(workers[0], upstream)
    assert set(await ledger(workers[1], FIRST_LAYER)) == {CANONICAL, CANONICAL_TWIN}
    clock.advance(HOUR)
    upstream.faults.add(answer(status), on=f"{TWIN}/blobs/{FIRST_LAYER.digest}", times=None)

    assert await sizes(workers[0], *BASE.layers) == BOTH
    assert set(await ledger(workers[1], FIRST_LAYER)) == {CANONICAL}
    lose(upstream, FIRST_LAYER)
    clock.advance(HOUR)
    assert await sizes(workers[1], FIRST_LAYER) == [None]
    upstream.requests.clear()

    assert await sizes(workers[0], FIRST_LAYER) == [None]
    assert (upstream.requests, await ledger(workers[1], FIRST_LAYER)) == ([], {})


# --- pushes ---


async def keep_before(cache: Cache) -> None:
    """Let v1 point to an older image."""
    await push_image(cache, BEFORE, "v1")


async def get_in_trouble(upstream: FakeRegistry, trouble: str) -> None:
    if trouble == "gone":
        lose(upstream, *BASE.layers)
    elif trouble == "down":
        await upstream.stop()
    else:
        upstream.faults.add(answer(503), on="/blobs/", times=None)


@pytest.fixture(params=["first push", "push again"])
async def prepared(workers: Workers, upstream: FakeRegistry, request: pytest.FixtureRequest) -> Workers:
    """Two workers where v1 is an older image; the base's layers are known, or borrowed already."""
    await learn(workers[0], upstream)
    if request.param == "push again":
        assert (await push_on_base(workers[0], reference="older")).status == 201
    await keep_before(workers[0])
    return workers


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize("trouble", ["down", "broken"])
async def test_a_silent_origin_s_word_of_today_counts(
    prepared: Workers, upstream: FakeRegistry, clock: FakeClock, trouble: str, *, is_held: bool
) -> None:
    if is_held:
        await hold(prepared[0], *BASE.layers)
    clock.advance(DAY - 1)
    await get_in_trouble(upstream, trouble)

    got = await push_on_base(prepared[1])

    assert (got.status, await loans(prepared[0]), await tagged(prepared[0])) == (201, LENT, ON_BASE.digest)


@pytest.mark.parametrize(
    ("trouble", "seen_ago"), [("gone", HOUR), ("gone", 2 * DAY), ("down", DAY), ("broken", 2 * DAY)]
)
async def test_what_is_held_is_owned_when_its_origin_cannot_be_relied_on(
    prepared: Workers, upstream: FakeRegistry, clock: FakeClock, trouble: str, seen_ago: float
) -> None:
    await hold(prepared[0], *BASE.layers)
    clock.advance(seen_ago)
    await get_in_trouble(upstream, trouble)

    got = await push_on_base(prepared[1])

    assert (got.status, await loans(prepared[0]), await tagged(prepared[0])) == (201, {}, ON_BASE.digest)
    assert await owned(prepared[0]) >= set(LENT)
    await evict_all(prepared[0])
    for layer in BASE.layers:
        assert (await prepared[0].get_blob(APP, layer.digest)).body == layer.body


@pytest.mark.parametrize("seen_ago", [HOUR, 2 * DAY])
async def test_what_is_nowhere_any_more_is_named_and_forgotten(
    prepared: Workers, upstream: FakeRegistry, clock: FakeClock, seen_ago: float
) -> None:
    clock.advance(seen_ago)
    lose(upstream, *BASE.layers)

    got = await push_on_base(prepared[1])

    assert missing_of(got) == set(LENT)
    assert [await ledger(prepared[0], layer) for layer in BASE.layers] == [{}, {}]
    assert await tagged(prepared[0]) == BEFORE.digest


@pytest.mark.parametrize("trouble", ["down", "broken"])
async def test_what_nobody_could_be_asked_about_is_to_be_pushed_later(
    prepared: Workers, upstream: FakeRegistry, clock: FakeClock, trouble: str
) -> None:
    clock.advance(DAY)
    await get_in_trouble(upstream, trouble)

    got = await push_on_base(prepared[1])

    assert (got.status, got.headers["Retry-After"]) == (503, "1")
    assert CANONICAL in got.message
    assert set(await ledger(prepared[0], FIRST_LAYER)) == {CANONICAL}
    assert await tagged(prepared[0]) == BEFORE.digest


async def test_of_a_mixture_each_is_treated_as_it_is(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    base = image(layers=4, seed="mixture")
    fine, kept, gone, silent = base.layers
    await learn(cache, upstream, base)
    await hold(cache, kept)
    clock.advance(2 * DAY)
    lose(upstream, kept, gone)
    fault = upstream.faults.add(answer(503), on=silent.digest, times=None)
    pushed = manifest_of(*base.layers, OWN, config=CONFIG)

    first = await push_on_base(cache, pushed)
    await push_blob(cache, gone)
    second = await push_on_base(cache, pushed)
    upstream.faults.remove(fault)
    third = await push_on_base(cache, pushed)

    assert missing_of(first) == {gone.digest}
    assert second.status == 503
    assert third.status == 201
    assert await loans(cache) == {fine.digest: CANONICAL, silent.digest: CANONICAL}
    assert await owned(cache) == {kept.digest, gone.digest, OWN.digest, CONFIG.digest}


async def test_what_an_origin_has_lost_is_uploaded_by_the_next_push(
    workers: Workers, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(workers[0], upstream)
    assert (await push_on_base(workers[0])).status == 201
    clock.advance(HOUR)
    lose(upstream, FIRST_LAYER)
    assert missing_of(await put_manifest(workers[0], ON_BASE, "v2")) == {FIRST_LAYER.digest}

    assert await sizes(workers[1], *BASE.layers) == [None, SECOND_LAYER.size]
    await push_blob(workers[1], FIRST_LAYER)
    assert (await put_manifest(workers[1], ON_BASE, "v2")).status == 201

    assert await loans(workers[0]) == {SECOND_LAYER.digest: CANONICAL}
    assert (await workers[0].get_blob(APP, FIRST_LAYER.digest)).body == FIRST_LAYER.body


async def test_what_a_pull_could_not_have_the_next_push_sends(workers: Workers, upstream: FakeRegistry) -> None:
    await learn(workers[0], upstream)
    assert (await push_on_base(workers[0])).status == 201
    lose(upstream, FIRST_LAYER)
    assert (await workers[0].get_blob(APP, FIRST_LAYER.digest)).status == 404

    assert await sizes(workers[1], *BASE.layers) == [None, SECOND_LAYER.size]
    assert missing_of(await put_manifest(workers[1], ON_BASE, "v1")) == {FIRST_LAYER.digest}


@pytest.mark.parametrize(("status", "told"), [(404, 404), (503, 503)])
async def test_children_that_an_origin_does_not_give(
    cache: Cache, upstream: FakeRegistry, status: int, told: int
) -> None:
    pushed = index([BASE])
    await learn(cache, upstream, pushed)
    await keep_before(cache)
    upstream.faults.add(answer(status), on=BASE.digest, times=None)

    got = await put_manifest(cache, pushed.manifest, "v1")

    assert got.status == told
    if told == 404:
        assert missing_of(got) == {BASE.digest}
    assert await tagged(cache) == BEFORE.digest
    assert await loans(cache) == {}


async def test_an_origin_that_has_another_size_does_not_have_it(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await learn(cache, upstream)
    clock.advance(HOUR)
    rule = upstream.faults.add(answer(200, b"short"), on=FIRST_LAYER.digest, times=None)

    assert missing_of(await push_on_base(cache)) == {FIRST_LAYER.digest}

    upstream.faults.remove(rule)
    assert await ledger(cache, FIRST_LAYER) == {}


# --- pulls ---


@pytest.fixture
async def pushed(workers: Workers, upstream: FakeRegistry) -> Workers:
    """Two workers with an image that borrows all of its base, none of which they hold."""
    await learn(workers[0], upstream)
    assert (await push_on_base(workers[0])).status == 201
    return workers


def reports(caplog: pytest.LogCaptureFixture) -> list[tuple[object, ...]]:
    return [
        (record.repository, record.digest, record.origin)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


async def test_of_a_lost_origin_another_one_takes_the_place(pushed: Workers, upstream: FakeRegistry) -> None:
    await learn(pushed[0], upstream, name=TWIN)
    lose(upstream, *BASE.layers)

    for cache in pushed:
        for layer in BASE.layers:
            assert (await cache.get_blob(APP, layer.digest)).body == layer.body


async def test_of_a_silent_origin_another_registry_takes_the_place(
    start: StartCache, upstream: FakeRegistry, other_upstream: FakeRegistry
) -> None:
    cache = await start(borrow_from=("docker.io", "ghcr.io"))
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await learn(cache, other_upstream, name=f"ghcr.io/{NAME}")
    await upstream.stop()

    assert (await cache.get_blob(APP, FIRST_LAYER.digest)).body == FIRST_LAYER.body


async def test_what_no_origin_has_is_reported(
    pushed: Workers, upstream: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    lose(upstream, *BASE.layers)

    got = await pushed[1].get_blob(APP, FIRST_LAYER.digest)

    assert (got.status, got.code) == (404, "BLOB_UNKNOWN")
    assert reports(caplog) == [(APP, FIRST_LAYER.digest, CANONICAL)]


@pytest.mark.parametrize("trouble", ["down", "broken", "busy"])
async def test_what_cannot_be_asked_for_is_not_called_unknown(
    pushed: Workers, upstream: FakeRegistry, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    if trouble == "down":
        await upstream.stop()
    else:
        upstream.faults.add(answer(503 if trouble == "broken" else 429), on="/blobs/", times=None)

    got = await pushed[1].get_blob(APP, FIRST_LAYER.digest)

    assert got.status == (429 if trouble == "busy" else 502)
    assert reports(caplog) == [(APP, FIRST_LAYER.digest, CANONICAL)]
    assert await sizes(pushed[1], *BASE.layers) == BOTH


async def test_one_that_has_it_no_more_does_not_speak_for_one_that_is_silent(
    start: StartCache, upstream: FakeRegistry, other_upstream: FakeRegistry
) -> None:
    cache = await start(borrow_from=("docker.io", "ghcr.io"))
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await learn(cache, other_upstream, name=f"ghcr.io/{NAME}")
    await upstream.stop()
    lose(other_upstream, *BASE.layers)

    assert (await cache.get_blob(APP, FIRST_LAYER.digest)).status == 502


async def test_an_origin_that_sends_something_else_is_not_believed(pushed: Workers, upstream: FakeRegistry) -> None:
    wrong = bytes(FIRST_LAYER.size)
    upstream.repository(NAME).blobs[FIRST_LAYER.digest] = Content(
        body=wrong, digest=FIRST_LAYER.digest, media_type=FIRST_LAYER.media_type
    )

    got = await pushed[0].get_blob(APP, FIRST_LAYER.digest)

    assert not got.is_complete or got.status == 502
    assert len(got.body) < FIRST_LAYER.size
    assert not pushed[0].holds(FIRST_LAYER.digest)


async def test_an_origin_that_is_back_gives_it_again(pushed: Workers, upstream: FakeRegistry, clock: FakeClock) -> None:
    lose(upstream, FIRST_LAYER)
    assert (await pushed[0].get_blob(APP, FIRST_LAYER.digest)).status == 404
    upstream.add_blob(NAME, FIRST_LAYER)
    clock.advance(HOUR)

    assert (await pushed[1].get_blob(APP, FIRST_LAYER.digest)).body == FIRST_LAYER.body


async def test_a_purge_of_the_origin_here_breaks_nothing(pushed: Workers, upstream: FakeRegistry) -> None:
    """What is borrowed stays known, what was merely offered is forgotten with the name."""
    await hold(pushed[0], *BASE.layers)

    await pushed[0].parts.tables.purge.forget(Wanted(names=(CANONICAL,)), is_dry=False)
    await evict_all(pushed[0])

    assert BASE.config is not None
    assert await ledger(pushed[1], BASE.config) == {}
    assert await sizes(pushed[1], *BASE.layers) == BOTH
    for layer in BASE.layers:
        assert (await pushed[1].get_blob(APP, layer.digest)).body == layer.body
    assert (await put_manifest(pushed[1], ON_BASE, "v2")).status == 201
