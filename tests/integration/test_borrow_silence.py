"""Origins that do not answer: for how long, for what else that speaks, and what is done about it."""

import pytest

from proxycache.maintenance import audit_origins
from proxycache.oci.digest import parse_digest
from proxycache.oci.names import parse_tag
from proxycache.registry.learn_base import Base
from proxycache.store.origins import Origin
from tests.builders import OCI_LAYER, Image, image
from tests.fakes.clock import FakeClock
from tests.fakes.faults import answer, never_answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    CANONICAL,
    CANONICAL_TWIN,
    DAY,
    HOUR,
    LENT,
    NAME,
    TWIN,
    asked,
    borrow,
    evict_all,
    learn,
    loans,
    owned,
    push_on,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP

ELSEWHERE = "ghcr.io/org/base"
SECOND, THIRD = (image(layers=2, seed=seed) for seed in ("second", "third"))
# The order in which a round asks for what is due at the same time.
EARLY, LATE = sorted(BASE.layers, key=lambda layer: layer.digest)


async def borrow_from(cache: Cache, registry: FakeRegistry, base: Image, *, name: str, tag: str) -> None:
    await learn(cache, registry, base, name=name)
    await push_on(cache, base, tag)


async def hold_all(cache: Cache) -> None:
    before = len(cache.fills)
    for layer in BASE.layers:
        assert (await cache.get_blob(APP, layer.digest)).status == 200
    await cache.wait_for_fills(before + len(BASE.layers))


async def test_who_answered_in_between_and_then_goes_for_good_is_reported_a_day_later(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    await upstream.stop()
    clock.advance(DAY)
    assert await cache.jobs.auditor.audit() == []
    await upstream.start()
    await hold_all(cache)
    await evict_all(cache)
    await upstream.stop()

    reported = []
    for seconds in (DAY, DAY - HOUR, HOUR):
        clock.advance(seconds)
        reported.append([image.name for image in await cache.jobs.auditor.audit()])
    await upstream.start()

    assert reported == [[], [], [f"{APP}:v1"]]


async def test_a_silence_long_ago_makes_no_day_of_a_short_one(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    clock.advance(DAY)
    await upstream.stop()
    await cache.jobs.auditor.audit()
    await upstream.start()
    await hold_all(cache)
    clock.advance(DAY)
    await upstream.stop()

    await cache.jobs.auditor.audit()
    await upstream.start()

    assert await loans(cache) == LENT


async def test_a_blob_that_cannot_be_told_of_speaks_for_no_other(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    await hold_all(cache)
    upstream.faults.add(answer(500), on=EARLY.digest, times=None)

    clock.advance(DAY)
    await cache.jobs.auditor.audit()
    clock.advance(DAY)

    assert await cache.jobs.auditor.audit() == []
    assert await loans(cache) == {LATE.digest: CANONICAL}
    assert EARLY.digest in await owned(cache)
    assert upstream.count("HEAD", LATE.digest) == 2


async def test_a_registry_that_hangs_is_asked_once_a_round_and_no_other_waits_for_it(
    start: StartCache,
    upstream: FakeRegistry,
    other_upstream: FakeRegistry,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit_origins, "_PATIENCE_SECONDS", 0.2)
    cache = await start(answer_within=0.3, borrow_from=("docker.io", "ghcr.io"))
    await borrow_from(cache, upstream, BASE, name=NAME, tag="1")
    await borrow_from(cache, upstream, SECOND, name=TWIN, tag="2")
    await borrow_from(cache, other_upstream, THIRD, name=ELSEWHERE, tag="3")
    upstream.faults.add(never_answer(), times=None)
    upstream.requests.clear()

    counts, reported = [], []
    for _ in range(2):
        clock.advance(DAY)
        reported.append([risk.name for risk in await cache.jobs.auditor.audit()])
        counts.append((len(asked(upstream)), other_upstream.count("HEAD", "/blobs/")))

    assert counts == [(1, 2), (2, 4)]
    assert reported == [[], [f"{APP}:1", f"{APP}:2"]]


async def test_who_is_back_is_borrowed_from_and_nothing_is_adopted(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    del upstream.repositories[NAME]
    clock.advance(DAY)
    await cache.jobs.auditor.audit()
    upstream.add_image(NAME, BASE, tag="1")
    await hold_all(cache)
    clock.advance(HOUR)

    assert await cache.jobs.auditor.audit() == []

    assert await loans(cache) == LENT


async def test_what_was_gone_and_does_not_answer_is_still_gone(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    del upstream.repositories[NAME]
    clock.advance(DAY)
    await cache.jobs.auditor.audit()
    await upstream.stop()
    clock.advance(HOUR)

    [risk] = await cache.jobs.auditor.audit()
    await upstream.start()

    assert (risk.origins, risk.silent_since) == ((CANONICAL,), None)


async def test_what_comes_here_after_its_origin_is_gone_is_adopted_though_nobody_answers(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    gone = upstream.repositories.pop(NAME)
    clock.advance(DAY)
    await cache.jobs.auditor.audit()
    upstream.repositories[NAME] = gone
    await hold_all(cache)
    for layer in BASE.layers:
        await cache.parts.tables.origins.forget(parse_digest(layer.digest), CANONICAL)
    await upstream.stop()
    clock.advance(HOUR)

    assert await cache.jobs.auditor.audit() == []
    await upstream.start()

    assert set(LENT) <= await owned(cache)


async def test_who_says_another_size_than_the_borrowers_were_told_takes_nobodys_place(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    for layer in BASE.layers:
        digest = parse_digest(layer.digest)
        liar = Origin(digest=digest, repository=CANONICAL_TWIN, size=5, media_type=OCI_LAYER, seen_at=clock.now())
        await cache.parts.tables.origins.record(liar)
    del upstream.repositories[NAME]
    upstream.faults.add(answer(200, b"12345"), on=f"/v2/{TWIN}/blobs/", times=None)
    clock.advance(DAY)

    [risk] = await cache.jobs.auditor.audit()

    assert risk.blobs == 2
    assert await loans(cache) == LENT


async def test_another_one_that_does_not_answer_takes_nobodys_place(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    await hold_all(cache)
    upstream.add_image(TWIN, BASE, tag="1")
    await cache.jobs.learner.learn(Base(repository=CANONICAL_TWIN, tag=parse_tag("1")))
    del upstream.repositories[NAME]
    upstream.faults.add(answer(503), on=f"/v2/{TWIN}/blobs/", times=None)
    clock.advance(DAY)

    assert await cache.jobs.auditor.audit() == []

    assert await loans(cache) == {}
    assert set(LENT) <= await owned(cache)
