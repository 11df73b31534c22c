"""Origins are asked whether they still have what is borrowed from them."""

import pytest

from proxycache.events import OriginsAudited
from proxycache.oci.names import parse_tag
from proxycache.registry.learn_base import Base
from tests.builders import json_content
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    CANONICAL,
    CANONICAL_TWIN,
    DAY,
    HOUR,
    LENT,
    NAME,
    ON_TWO,
    TWIN,
    borrow,
    loans,
)
from tests.integration.harness import Cache
from tests.integration.pushing import APP, put_manifest


async def test_each_origin_is_asked_once_a_day(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    await borrow(cache, upstream)

    counts = []
    for _ in range(3):
        assert await cache.jobs.auditor.audit() == []
        counts.append(upstream.count("HEAD", "/blobs/"))
        clock.advance(DAY / 2)

    assert counts == [0, 0, 2]
    assert await cache.jobs.auditor.audit() == []
    assert upstream.count("HEAD", "/blobs/") == 2


async def test_an_origin_that_is_gone_is_reported_by_image(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    del upstream.repositories[NAME]
    clock.advance(DAY)

    [risk] = await cache.jobs.auditor.audit()

    assert (risk.name, risk.blobs, risk.origins, risk.silent_since) == (f"{APP}:v1", 2, (CANONICAL,), None)
    assert [event.images_at_risk for event in await cache.wait_for(OriginsAudited)] == [1]
    assert "proxycache_images_at_risk 1.0" in (await cache.get("/-/metrics")).body.decode().splitlines()

    upstream.add_image(NAME, BASE, tag="1")
    clock.advance(HOUR)
    assert await cache.jobs.auditor.audit() == []


async def test_what_is_held_of_an_origin_that_is_gone_is_adopted(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    held, lost = BASE.layers
    assert (await cache.get_blob(APP, held.digest)).status == 200
    await cache.wait_for_fills()
    del upstream.repositories[NAME]
    clock.advance(DAY)

    [risk] = await cache.jobs.auditor.audit()

    assert risk.blobs == 1
    assert await loans(cache) == {lost.digest: CANONICAL}
    assert (await cache.get_blob(APP, held.digest)).body == held.body


async def test_another_origin_takes_the_place_of_one_that_is_gone(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    upstream.add_image(TWIN, BASE, tag="1")
    await cache.jobs.learner.learn(Base(repository=CANONICAL_TWIN, tag=parse_tag("1")))
    del upstream.repositories[NAME]
    clock.advance(DAY)

    assert await cache.jobs.auditor.audit() == []

    assert await loans(cache) == dict.fromkeys((layer.digest for layer in BASE.layers), CANONICAL_TWIN)


async def test_silence_is_reported_after_a_day_and_forgotten_with_an_answer(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    await upstream.stop()
    clock.advance(DAY)
    at_once = await cache.jobs.auditor.audit()
    clock.advance(DAY)
    [after_a_day] = await cache.jobs.auditor.audit()
    await upstream.start()
    clock.advance(HOUR)

    assert at_once == []
    assert (after_a_day.name, after_a_day.blobs) == (f"{APP}:v1", 2)
    assert after_a_day.silent_since == pytest.approx(clock.now() - DAY - HOUR)
    assert await cache.jobs.auditor.audit() == []
    assert await loans(cache) == LENT


async def test_what_is_held_is_adopted_when_the_silence_has_lasted_a_day(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    held, lost = BASE.layers
    assert (await cache.get_blob(APP, held.digest)).status == 200
    await cache.wait_for_fills()
    await upstream.stop()

    borrowed = []
    for seconds in (DAY, HOUR, DAY - HOUR):
        clock.advance(seconds)
        await cache.jobs.auditor.audit()
        borrowed.append(set(await loans(cache)))
    await upstream.start()

    assert borrowed == [{held.digest, lost.digest}, {held.digest, lost.digest}, {lost.digest}]


async def test_rounds_go_on_where_the_budget_ended_the_last(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await borrow(cache, upstream)
    clock.advance(DAY)
    monkeypatch.setattr("proxycache.maintenance.audit_origins.MOST_QUESTIONS", 1)

    counts = []
    for _ in range(3):
        await cache.jobs.auditor.audit()
        counts.append(upstream.count("HEAD", "/blobs/"))

    assert counts == [1, 2, 2]


async def test_an_index_is_at_risk_for_what_a_platform_of_it_borrows(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    child = await borrow(cache, upstream)
    document = {"schemaVersion": 2, "mediaType": ON_TWO.media_type, "manifests": [child.descriptor()]}
    assert (await put_manifest(cache, json_content(document, ON_TWO.media_type), "all")).status == 201
    assert (await cache.ask("DELETE", f"/v2/{APP}/manifests/v1")).status == 202
    del upstream.repositories[NAME]
    clock.advance(DAY)

    assert [risk.name for risk in await cache.jobs.auditor.audit()] == [f"{APP}:all"]
