"""What runs behind borrowing: bases that are learnt, reports of pushes, adopting, lending, auditing."""

import asyncio
from dataclasses import replace

import pytest

from proxycache.events import ImagePushed, OriginsAudited
from proxycache.maintenance.adopt_borrowed import PushSignal, adopt_borrowed
from proxycache.oci.digest import parse_digest
from proxycache.oci.names import parse_tag
from proxycache.registry.learn_base import Base
from proxycache.store.garbage import GRACE_SECONDS
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound
from tests.builders import OCI_CONFIG, Content, Image, blob, image, index, json_content
from tests.fakes.clock import FakeClock
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP, manifest_of, push_blob, put_manifest

NAME, TAG, CANONICAL = "library/base", "1", "docker.io/library/base"
TWIN, CANONICAL_TWIN = "library/twin", "docker.io/library/twin"
BASE = Base(repository=CANONICAL, tag=parse_tag(TAG))
PLATFORMS = ("linux/amd64", "linux/arm64")
DAY, HOUR = 86_400.0, 3_600.0
MOVED = image(platforms=PLATFORMS, seed="moved")
ON_TWO = image(platforms=PLATFORMS, seed="base")
PLAIN = image(layers=2, seed="plain")
OWN = blob(700, seed="own")


def asked(upstream: FakeRegistry) -> list[tuple[str, str]]:
    return [(seen.method, seen.path.rpartition("/")[2]) for seen in upstream.requests]


def config_for(*diff_ids: str) -> Content:
    return json_content({"rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}, OCI_CONFIG)


async def diff_id_of(cache: Cache, layer: str) -> set[str | None]:
    rows = await cache.parts.database.fetch("SELECT diff_id FROM origins WHERE digest = ?", (layer,))
    return {diff_id for (diff_id,) in rows}


async def settled(name: str) -> None:
    """Wait until no detached task of this name runs."""
    while tasks := [task for task in asyncio.all_tasks() if task.get_name() == name]:
        await asyncio.wait(tasks)


async def push_on(cache: Cache, base: Image, tag: str = "v1", *, own: Content = OWN) -> Content:
    """Push an image of the base's layers and one of its own, of which only that one and the config are sent."""
    config = config_for(*(layer.digest for layer in (*base.layers, own)))
    manifest = manifest_of(*base.layers, own, config=config)
    for each in (own, config):
        await push_blob(cache, each)
    assert (await put_manifest(cache, manifest, tag)).status == 201
    return manifest


async def borrow(cache: Cache, upstream: FakeRegistry, base: Image = PLAIN) -> Content:
    """Learn the base by its manifest only, and push an image that borrows its layers."""
    upstream.add_image(NAME, base, tag=TAG)
    assert (await cache.get_manifest(NAME, TAG)).status == 200
    pushed = await push_on(cache, base)
    upstream.requests.clear()
    return pushed


async def loans(cache: Cache) -> dict[str, str]:
    """Return what is borrowed here, and from whom."""
    return {str(each.digest): each.origin for each in await cache.parts.tables.loans.list_of(APP)}


async def pull_layers(cache: Cache, base: Image = PLAIN) -> list[int]:
    return [(await cache.get_blob(APP, layer.digest)).status for layer in base.layers]


# --- bases ---


async def test_a_base_is_learnt_without_any_of_its_layers(cache: Cache, upstream: FakeRegistry) -> None:
    upstream.add_image(NAME, ON_TWO, tag=TAG)

    learnt = await cache.jobs.learner.learn(BASE)

    assert (str(learnt.digest), learnt.is_new, learnt.images, learnt.layers) == (ON_TWO.digest, True, 2, 4)
    manifests = {each.digest for each in ON_TWO.manifests()}
    configs = {child.config.digest for child in ON_TWO.children if child.config}
    assert {what for method, what in asked(upstream) if method == "GET"} == manifests | configs
    for child in ON_TWO.children:
        for layer in child.layers:
            head = await cache.head(f"/v2/{APP}/blobs/{layer.digest}")
            assert (head.status, head.headers["Content-Length"]) == (200, str(layer.size))
            assert await diff_id_of(cache, layer.digest) == {layer.digest}


async def test_a_base_that_has_not_moved_costs_one_head(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    upstream.add_image(NAME, ON_TWO, tag=TAG)
    await cache.jobs.learner.learn(BASE)
    for each in ON_TWO.manifests():  # as if they had been evicted
        digest = parse_digest(each.digest)
        assert await cache.parts.fill_services.blobs.remove(digest, _is_to_go)
    upstream.requests.clear()
    clock.advance(HOUR)

    learnt = await cache.jobs.learner.learn(BASE)

    assert (learnt.is_new, asked(upstream)) == (False, [("HEAD", TAG)])


async def _is_to_go(_: object) -> bool:
    return True


async def test_of_a_base_that_has_moved_only_what_moved_is_got(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    now = index([ON_TWO.children[0], MOVED.children[1]], platforms=PLATFORMS)
    upstream.add_image(NAME, ON_TWO, tag=TAG)
    await cache.jobs.learner.learn(BASE)
    upstream.add_image(NAME, now, tag=TAG)
    upstream.requests.clear()

    learnt = await cache.jobs.learner.learn(BASE)

    moved = MOVED.children[1]
    assert moved.config is not None
    assert str(learnt.digest) == now.digest
    assert asked(upstream)[0] == ("HEAD", TAG)
    assert {what for method, what in asked(upstream) if method == "GET"} == {
        now.digest,
        moved.digest,
        moved.config.digest,
    }


async def test_a_platform_that_is_not_there_is_no_failure_and_a_failure_is_asked_again(
    cache: Cache, upstream: FakeRegistry
) -> None:
    upstream.add_image(NAME, ON_TWO, tag=TAG)
    del upstream.repository(NAME).manifests[ON_TWO.children[0].digest]
    upstream.faults.add(answer(503), on=ON_TWO.children[1].digest, times=1)

    with pytest.raises(UpstreamError):
        await cache.jobs.learner.learn(BASE)
    learnt = await cache.jobs.learner.learn(BASE)

    assert (learnt.is_new, learnt.images) == (True, 1)


async def test_what_may_not_be_borrowed_from_is_not_learnt(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(deny=[NAME])
    upstream.add_image(NAME, ON_TWO, tag=TAG)

    with pytest.raises(UpstreamNotFound, match="refused by the rules"):
        await cache.jobs.learner.learn(BASE)

    assert upstream.requests == []


async def test_all_bases_are_refreshed_whatever_is_wrong_with_one(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(bases=("local/app:1", "library/gone:1", f"{NAME}:{TAG}"))
    upstream.add_image(NAME, PLAIN, tag=TAG)
    upstream.add_image(TWIN, MOVED, tag="latest")
    await cache.parts.tables.bases.add(f"{CANONICAL_TWIN}:latest", now=1.0)

    await cache.jobs.refresher.refresh()

    learnt = [
        await cache.parts.tables.bases.find_learnt(name) for name in (f"{CANONICAL}:{TAG}", f"{CANONICAL_TWIN}:latest")
    ]
    assert list(map(str, learnt)) == [PLAIN.digest, MOVED.digest]


# --- diffIDs ---


async def test_a_pull_teaches_what_its_layers_are_unpacked(cache: Cache, upstream: FakeRegistry) -> None:
    layers = [blob(900, seed="a"), blob(900, seed="b")]
    config = config_for(OWN.digest, PLAIN.digest)
    manifest = manifest_of(*layers, config=config)
    upstream.add_manifest(NAME, manifest, tag=TAG)
    upstream.add_blob(NAME, config)

    assert (await cache.get_manifest(NAME, TAG)).status == 200
    assert (await cache.get_blob(NAME, config.digest)).status == 200
    await cache.wait_for_fills()
    await settled("learn layers")

    assert [await diff_id_of(cache, layer.digest) for layer in layers] == [{OWN.digest}, {PLAIN.digest}]


async def test_what_was_pushed_teaches_nothing(cache: Cache, upstream: FakeRegistry) -> None:
    """A pusher names an upstream's layer and its config, and pairs them as it likes."""
    config = config_for(OWN.digest)
    upstream.add_image(NAME, PLAIN, tag=TAG)
    upstream.add_manifest(TWIN, manifest_of(blob(1, seed="x"), blob(1, seed="y"), config=config), tag=TAG)
    upstream.add_blob(TWIN, config)
    for name in (NAME, TWIN):
        assert (await cache.get_manifest(name, TAG)).status == 200
    assert (await put_manifest(cache, manifest_of(PLAIN.layers[0], config=config), "1")).status == 201

    assert (await cache.get_blob(TWIN, config.digest)).status == 200
    await cache.wait_for_fills()
    await settled("learn layers")

    assert await diff_id_of(cache, PLAIN.layers[0].digest) == {None}


# --- the report of a push ---


async def test_a_push_tells_what_came_over_the_line_and_what_did_not(cache: Cache, upstream: FakeRegistry) -> None:
    await borrow(cache, upstream)
    [first] = await cache.wait_for(ImagePushed)
    await push_on(cache, PLAIN, "v2", own=blob(300, seed="next"))
    _, second = await cache.wait_for(ImagePushed, 2)

    own_config = len(config_for(*(each.digest for each in (*PLAIN.layers, OWN))).body)
    assert (first.repository, first.reference, first.sent_bytes) == (APP, "v1", OWN.size + own_config)
    assert first.borrowed_bytes == sum(layer.size for layer in PLAIN.layers)
    assert first.owned_bytes == first.sent_bytes
    assert second.sent_bytes == 300 + own_config
    assert first.could_have_borrowed == second.could_have_borrowed == ()
    metrics = (await cache.get("/-/metrics")).body.decode().splitlines()
    assert f"proxycache_image_sent_bytes_total {float(first.sent_bytes + second.sent_bytes)}" in metrics
    assert f"proxycache_image_borrowed_bytes_total {float(2 * first.borrowed_bytes)}" in metrics


async def test_what_was_sent_counts_for_one_push(cache: Cache) -> None:
    config = config_for(OWN.digest)
    manifest = manifest_of(OWN, config=config)
    for each in (OWN, config):
        await push_blob(cache, each)

    for tag in ("1", "2"):
        assert (await put_manifest(cache, manifest, tag)).status == 201
        await cache.wait_for(ImagePushed, int(tag))

    first, second = await cache.wait_for(ImagePushed, 2)
    assert (first.sent_bytes, second.sent_bytes) == (OWN.size + config.size, 0)
    assert first.owned_bytes == second.owned_bytes == first.sent_bytes


async def test_a_layer_that_was_compressed_anew_is_named_with_its_origin(cache: Cache, upstream: FakeRegistry) -> None:
    upstream.add_image(NAME, PLAIN, tag=TAG)
    await cache.jobs.learner.learn(BASE)
    anew = blob(3000, seed="the same tar, other gzip")
    config = config_for(PLAIN.layers[0].digest, OWN.digest)
    for each in (anew, OWN, config):
        await push_blob(cache, each)

    assert (await put_manifest(cache, manifest_of(anew, OWN, config=config), "1")).status == 201

    assert (await put_manifest(cache, manifest_of(anew, OWN, config=config), "2")).status == 201
    pushed, again = await cache.wait_for(ImagePushed, 2)
    [layer] = pushed.could_have_borrowed
    assert again.could_have_borrowed == ()
    assert (layer.digest, layer.size) == (anew.digest, anew.size)
    assert (layer.known_as, layer.origin) == (PLAIN.layers[0].digest, CANONICAL)


async def test_an_origin_that_may_not_be_borrowed_from_is_not_named(start: StartCache, upstream: FakeRegistry) -> None:
    cache = await start(borrow_from=("ghcr.io",))
    upstream.add_image(NAME, PLAIN, tag=TAG)
    await cache.jobs.learner.learn(BASE)
    anew, config = blob(3000, seed="anew"), config_for(PLAIN.layers[0].digest)
    for each in (anew, config):
        await push_blob(cache, each)

    assert (await put_manifest(cache, manifest_of(anew, config=config), "1")).status == 201

    [pushed] = await cache.wait_for(ImagePushed)
    assert pushed.could_have_borrowed == ()


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
    upstream.add_image(TWIN, other, tag=TAG)
    assert (await cache.get_manifest(TWIN, TAG)).status == 200
    await push_on(cache, other, "pinned")

    await cache.jobs.adoption.adopt()
    before = await loans(cache)
    await cache.parts.tables.pins.add(APP, "pinned", now=1.0)
    await cache.jobs.adoption.adopt()

    assert len(before) == 3
    assert await loans(cache) == dict.fromkeys((layer.digest for layer in PLAIN.layers), CANONICAL)


async def test_what_cannot_be_had_stays_borrowed(cache: Cache, upstream: FakeRegistry) -> None:
    await borrow(cache, upstream)
    lost = PLAIN.layers[0]
    del upstream.repository(NAME).blobs[lost.digest]

    whys = {
        str(each.digest): await cache.jobs.adopter.adopt(each) for each in await cache.parts.tables.loans.list_of(APP)
    }

    assert whys == {lost.digest: "docker.io: not found", PLAIN.layers[1].digest: ""}
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
    for layer in PLAIN.layers:
        await push_blob(cache, layer)
    pushed = await push_on(cache, PLAIN)
    upstream.add_image(NAME, PLAIN, tag=TAG)
    assert (await cache.get_manifest(NAME, TAG)).status == 200
    upstream.requests.clear()
    return pushed


async def test_lent_layers_are_borrowed_and_their_bytes_may_go(cache: Cache, upstream: FakeRegistry) -> None:
    await owned_image(cache, upstream)
    cached = await cache.parts.tables.usage.cached_bytes()

    lent = await lend_all(cache)

    assert sorted(lent) == sorted(layer.digest for layer in PLAIN.layers)
    assert sorted(asked(upstream)) == sorted(("HEAD", digest) for digest in lent)
    assert await loans(cache) == dict.fromkeys(lent, CANONICAL)
    assert await cache.parts.tables.usage.cached_bytes() == cached + 2 * 4096
    candidates = {each.digest for each in await cache.parts.tables.usage.list_next(10)}
    assert set(lent) <= candidates
    assert OWN.digest not in candidates
    for layer in PLAIN.layers:
        assert await cache.parts.fill_services.blobs.remove(parse_digest(layer.digest), _is_to_go)
    assert await pull_layers(cache) == [200, 200]


async def test_what_an_origin_does_not_have_now_is_not_lent(cache: Cache, upstream: FakeRegistry) -> None:
    await owned_image(cache, upstream)
    gone, other_size = PLAIN.layers
    blobs = upstream.repository(NAME).blobs
    del blobs[gone.digest]
    blobs[other_size.digest] = replace(other_size, body=other_size.body[:-1])

    assert await lend_all(cache) == []

    assert await loans(cache) == {}


async def test_what_another_repository_owns_stays_owned(cache: Cache, upstream: FakeRegistry) -> None:
    await owned_image(cache, upstream)
    await push_blob(cache, PLAIN.layers[0], "local/other")

    assert len(await lend_all(cache)) == 2

    candidates = {each.digest for each in await cache.parts.tables.usage.list_next(10)}
    assert PLAIN.layers[0].digest not in candidates
    assert PLAIN.layers[1].digest in candidates


async def test_what_was_lent_is_not_collected(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    await owned_image(cache, upstream)
    await lend_all(cache)
    clock.advance(2 * GRACE_SECONDS)

    await cache.collect()

    assert len(await loans(cache)) == 2


# --- audit ---


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

    upstream.add_image(NAME, PLAIN, tag=TAG)
    clock.advance(HOUR)
    assert await cache.jobs.auditor.audit() == []


async def test_what_is_held_of_an_origin_that_is_gone_is_adopted(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    held, lost = PLAIN.layers
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
    upstream.add_image(TWIN, PLAIN, tag=TAG)
    await cache.jobs.learner.learn(Base(repository=CANONICAL_TWIN, tag=parse_tag(TAG)))
    del upstream.repositories[NAME]
    clock.advance(DAY)

    assert await cache.jobs.auditor.audit() == []

    assert await loans(cache) == dict.fromkeys((layer.digest for layer in PLAIN.layers), CANONICAL_TWIN)


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
    assert await loans(cache) == dict.fromkeys((layer.digest for layer in PLAIN.layers), CANONICAL)


async def test_what_is_held_is_adopted_when_the_silence_has_lasted_a_day(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    held, lost = PLAIN.layers
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


async def test_a_repository_that_does_not_answer_is_asked_once_a_round(
    cache: Cache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    await borrow(cache, upstream)
    clock.advance(DAY)
    upstream.faults.add(answer(503), times=None)

    await cache.jobs.auditor.audit()

    assert len({what for _, what in asked(upstream)}) == 1


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
