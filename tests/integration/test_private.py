"""What only our credential can read is not handed to everybody, whatever way is tried."""

import asyncio

import pytest

from proxycache.upstream.settings import Secret
from tests.builders import blob, image
from tests.fakes.auth import TokenAuth
from tests.fakes.faults import answer, no_length, slow_headers, stall
from tests.fakes.signals import Gate
from tests.integration.harness import ELSEWHERE

PUBLIC, PRIVATE = "library/public", "library/private"
OPEN, SECRET = image(seed="open", layer_size=300_000), image(seed="secret", layer_size=300_000)
SECRET_LAYER = SECRET.layers[0]
ANN = {"username": "ann", "password": Secret("secret")}


@pytest.fixture(autouse=True)
def content(upstream) -> None:
    upstream.auth = TokenAuth(username="ann", password="secret", private={PRIVATE})
    upstream.add_image(PUBLIC, OPEN, tag="1")
    upstream.add_image(PRIVATE, SECRET, tag="1")


@pytest.fixture
async def cache(start):
    return await start(**ANN)


def every_path(name: str, held=SECRET) -> list[str]:
    things = [
        "manifests/1",
        f"manifests/{held.digest}",
        f"blobs/{held.layers[0].digest}",
        f"blobs/{held.config.digest}",
    ]
    return [f"/v2/{name}/{thing}" for thing in things]


async def hold_secret(cache) -> None:
    for path in every_path(PRIVATE):
        assert (await cache.get(path)).status == 200
    await cache.wait_for_fills(2)


@pytest.mark.parametrize("visibility", ["auto", "private", "public"])
@pytest.mark.parametrize("name", [PUBLIC, PRIVATE])
async def test_somebody_on_this_machine_gets_all(start, visibility, name):
    cache = await start(**ANN, visibility=visibility)
    held = OPEN if name == PUBLIC else SECRET

    got = [await cache.get(path) for path in every_path(name, held)]

    assert [each.status for each in got] == [200] * 4


@pytest.mark.parametrize("path", every_path(PRIVATE))
@pytest.mark.parametrize("is_held", [True, False])
async def test_what_is_private_is_not_there_for_others(cache, path, is_held):
    if is_held:
        await hold_secret(cache)

    assert (await cache.get(path, ELSEWHERE)).status == 404


@pytest.mark.parametrize("header", ["Forwarded", "X-Real-IP", "X-Forwarded-Host", "Via"])
async def test_whoever_forwards_makes_a_request_one_of_somebody_else(cache, header):
    await hold_secret(cache)

    assert (await cache.get_manifest(PRIVATE, "1", {header: "192.0.2.7"})).status == 404


@pytest.mark.parametrize("path", every_path(PRIVATE))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_is_not_there_after_a_restart_and_at_other_workers_either(start, path, method):
    first, second = await start(**ANN), await start(**ANN)
    await hold_secret(first)
    await first.get(path)
    await first.stop()

    got = [await each.ask(method, path, ELSEWHERE) for each in (second, await start(**ANN))]

    assert [each.status for each in got] == [404, 404]


@pytest.mark.parametrize("prefix", ["", "docker.io/"])
@pytest.mark.parametrize("thing", ["manifests/1", f"manifests/{SECRET.digest}", f"blobs/{SECRET_LAYER.digest}"])
@pytest.mark.parametrize("is_held", [True, False])
async def test_what_is_private_looks_like_what_does_not_exist(cache, prefix, thing, is_held):
    if is_held:
        await hold_secret(cache)

    private = await cache.get(f"/v2/{prefix}{PRIVATE}/{thing}", ELSEWHERE)
    missing = await cache.get(f"/v2/{prefix}library/missing/{thing}", ELSEWHERE)

    assert (private.status, missing.status) == (404, 404)
    assert private.body == missing.body.replace(b"library/missing", PRIVATE.encode())


@pytest.mark.parametrize("prefix", ["", "docker.io/"])
async def test_what_is_private_looks_like_what_is_refused_to_us_too(cache, upstream, prefix):
    upstream.faults.add(answer(403), on="library/refused", times=None)

    private = await cache.get(f"/v2/{prefix}{PRIVATE}/manifests/1", ELSEWHERE)
    refused = await cache.get(f"/v2/{prefix}library/refused/manifests/1", ELSEWHERE)

    assert (private.status, refused.status) == (404, 404)
    assert private.body == refused.body.replace(b"library/refused", PRIVATE.encode())


async def test_a_missing_tag_that_is_asked_for_at_the_same_time_hides_no_other(cache, upstream):
    gate = Gate()
    upstream.faults.add(slow_headers(gate), on="manifests/missing")

    async with asyncio.TaskGroup() as group:
        missing = group.create_task(cache.get_manifest(PUBLIC, "missing", ELSEWHERE))
        await gate.arrived.wait()
        found = group.create_task(cache.get_manifest(PUBLIC, "1", ELSEWHERE))
        await asyncio.wait([found], timeout=1.0)
        gate.open()

    assert (missing.result().status, found.result().status) == (404, 200)


@pytest.mark.parametrize("path", every_path(PUBLIC)[1:])
async def test_held_private_content_is_not_given_through_another_repository(cache, path):
    await hold_secret(cache)

    got = [await cache.get(path, headers) for headers in (ELSEWHERE, None)]

    assert [each.status for each in got] == [404, 404]


async def test_held_private_content_is_not_given_through_another_upstream(cache, other_upstream):
    other_upstream.repository("org/app")
    await hold_secret(cache)

    got = [await cache.get(path, ELSEWHERE) for path in every_path("ghcr.io/org/app")[1:]]

    assert [each.status for each in got] == [404] * 3


async def start_secret_fill(cache, upstream, gate):
    upstream.faults.add(stall(gate, at=150_000), on=SECRET_LAYER.digest)
    await cache.head(f"/v2/{PRIVATE}/blobs/{SECRET_LAYER.digest}")  # brings the token
    upstream.faults.clear()
    upstream.faults.add(stall(gate, at=150_000), on=SECRET_LAYER.digest, method="GET")


@pytest.mark.parametrize("name", [PUBLIC, "ghcr.io/org/app"])
@pytest.mark.parametrize("wanted", [{}, {"Range": "bytes=0-99"}])
async def test_private_content_on_its_way_is_not_given_through_another_repository(start, upstream, name, wanted):
    first, second = await start(**ANN), await start(**ANN)
    gate = Gate()
    await start_secret_fill(first, upstream, gate)

    async with first.open(f"/v2/{PRIVATE}/blobs/{SECRET_LAYER.digest}") as response:
        await response.content.readexactly(150_000)
        got = [
            await each.get(f"/v2/{name}/blobs/{SECRET_LAYER.digest}", {**ELSEWHERE, **wanted})
            for each in (first, second)
        ]
        gate.open()

    assert [each.status for each in got] == [404, 404]


@pytest.mark.parametrize("at", [150_000, SECRET_LAYER.size])
async def test_private_content_that_was_left_half_way_is_not_given_through_another_repository(start, upstream, at):
    before, gate = await start(**ANN), Gate()
    await before.head(f"/v2/{PRIVATE}/blobs/{SECRET_LAYER.digest}")
    upstream.faults.add(stall(gate, at=at).combined_with(no_length()), on=SECRET_LAYER.digest, method="GET")
    async with before.open(f"/v2/{PRIVATE}/blobs/{SECRET_LAYER.digest}") as response:
        await response.content.readexactly(at - 65_536)
    await before.stop()

    cache = await start(**ANN)
    got = [await cache.get(f"/v2/{PUBLIC}/blobs/{SECRET_LAYER.digest}", ELSEWHERE) for _ in range(2)]

    assert [each.status for each in got] == [404, 404]


async def test_who_waits_for_a_private_fill_by_a_public_name_waits_in_vain(start, upstream):
    first, second, gate = await start(**ANN), await start(**ANN), Gate()
    await first.head(f"/v2/{PRIVATE}/blobs/{SECRET_LAYER.digest}")
    upstream.faults.add(slow_headers(gate), on=f"{PRIVATE}/blobs/", method="GET")

    async with asyncio.TaskGroup() as group:
        mine = group.create_task(first.get(f"/v2/{PRIVATE}/blobs/{SECRET_LAYER.digest}"))
        await gate.arrived.wait()
        others = group.create_task(second.get(f"/v2/{PUBLIC}/blobs/{SECRET_LAYER.digest}", ELSEWHERE))
        await asyncio.sleep(0.2)  # until it waits
        gate.open()

    assert (mine.result().body, others.result().status) == (SECRET_LAYER.body, 404)


async def test_public_content_is_served_to_others_from_what_is_held(cache, upstream):
    for path in every_path(PUBLIC, OPEN):
        await cache.get(path)
    await cache.wait_for_fills(2)
    await upstream.stop()

    got = [await cache.get(path, ELSEWHERE) for path in every_path(PUBLIC, OPEN)]

    assert [each.status for each in got] == [200] * 4


async def test_public_content_is_served_by_digest_through_another_public_repository(cache, upstream):
    await cache.get_blob(PUBLIC, OPEN.layers[0].digest)
    await cache.wait_for_fills()
    upstream.repository("library/other")

    got = await cache.get_blob("ghcr.io/org/app", OPEN.layers[0].digest, ELSEWHERE)

    assert got.body == OPEN.layers[0].body


async def test_a_private_blob_that_a_public_repository_has_too_is_public(cache, upstream):
    await hold_secret(cache)
    upstream.add_blob(PUBLIC, SECRET_LAYER)
    upstream.requests.clear()

    got = [await cache.get_blob(PUBLIC, SECRET_LAYER.digest, ELSEWHERE) for _ in range(2)]

    assert [each.body for each in got] == [SECRET_LAYER.body] * 2
    assert (upstream.count("HEAD", "/blobs/"), upstream.count("GET", "/blobs/")) == (1, 0)


async def test_an_upstream_that_is_private_is_so_without_credentials_too(start, upstream):
    upstream.auth = None
    cache = await start(visibility="private")
    assert [(await cache.get(path)).status for path in every_path(PUBLIC, OPEN)] == [200] * 4
    await cache.wait_for_fills(2)

    got = [await cache.get(path, ELSEWHERE) for path in every_path(PUBLIC, OPEN)]
    other = await cache.get_blob("ghcr.io/org/app", OPEN.layers[0].digest, ELSEWHERE)
    listed = [(await cache.get("/v2/_catalog", headers)).json()["repositories"] for headers in (None, ELSEWHERE)]
    borrowed = await cache.send("POST", f"/v2/local/app/blobs/uploads/?mount={OPEN.layers[0].digest}", b"", ELSEWHERE)

    assert [each.status for each in (*got, other)] == [404] * 5
    assert listed == [[f"docker.io/{PUBLIC}"], []]
    assert borrowed.status == 403


async def test_visibility_is_asked_once_a_day(cache, upstream, clock):
    await cache.get_manifest(PUBLIC, "1", ELSEWHERE)
    anonymous = [seen for seen in upstream.auth.requests if "Authorization" not in seen.headers]
    for _ in range(3):
        clock.advance(1000)
        await cache.get_manifest(PUBLIC, "1", ELSEWHERE)
    same_day = [seen for seen in upstream.auth.requests if "Authorization" not in seen.headers]

    assert len(anonymous) == len(same_day) == 1


async def test_a_repository_that_becomes_private_is_noticed_within_a_day(cache, upstream, clock):
    assert (await cache.get_manifest(PUBLIC, "1", ELSEWHERE)).status == 200
    upstream.auth.private.add(PUBLIC)
    upstream.auth.revoke_all()

    clock.advance(86_401)
    got = await cache.get_manifest(PUBLIC, "1", ELSEWHERE)

    assert got.status == 404


async def test_a_repository_that_becomes_private_stops_being_remembered(cache, upstream, clock):
    for _ in range(2):
        await cache.get_manifest(PUBLIC, OPEN.digest, ELSEWHERE)
    upstream.auth.private.add(PUBLIC)
    upstream.auth.revoke_all()

    clock.advance(86_401)
    got = [await cache.get_manifest(PUBLIC, reference, ELSEWHERE) for reference in ("1", OPEN.digest)]

    assert [each.status for each in got] == [404, 404]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", every_path(PUBLIC, OPEN)[1:])
async def test_what_is_remembered_counts_no_longer_than_its_repository_is_known_to_be_public(
    cache, upstream, clock, method, path
):
    for _ in range(2):
        assert (await cache.get(path, ELSEWHERE)).status == 200
    await cache.wait_for_fills(1 if "/blobs/" in path else 0)
    held = [await cache.ask(method, path, ELSEWHERE) for _ in range(2)]
    upstream.auth.private.add(PUBLIC)
    upstream.auth.revoke_all()
    asked = upstream.count()

    clock.advance(86_399)
    same_day = await cache.ask(method, path, ELSEWHERE)
    assert upstream.count() == asked
    clock.advance(2)
    next_day = await cache.ask(method, path, ELSEWHERE)

    assert [each.status for each in (*held, same_day, next_day)] == [200, 200, 200, 404]


async def test_a_tag_that_does_not_exist_makes_no_repository_private(cache):
    missing = await cache.get_manifest(PUBLIC, "missing", ELSEWHERE)

    got = await cache.get_manifest(PUBLIC, "1", ELSEWHERE)

    assert (missing.status, got.status) == (404, 200)


async def test_a_digest_that_does_not_exist_makes_no_repository_private(cache):
    missing = [await cache.get(path, ELSEWHERE) for path in every_path(PUBLIC, SECRET)[1:]]

    got = await cache.get_manifest(PUBLIC, "1", ELSEWHERE)

    assert ([each.status for each in missing], got.status) == ([404] * 3, 200)


@pytest.mark.parametrize("trouble", [answer(503), answer(429)])
async def test_what_could_not_be_told_is_neither_public_nor_remembered(cache, upstream, trouble):
    rule = upstream.faults.add(trouble, times=None)
    refused = await cache.get_manifest(PUBLIC, "1", ELSEWHERE)
    upstream.faults.remove(rule)

    got = await cache.get_manifest(PUBLIC, "1", ELSEWHERE)

    assert (refused.status in {429, 502}, got.status) == (True, 200)


async def test_others_do_not_see_private_repositories_in_the_catalog(cache):
    await cache.get_manifest(PUBLIC, "1")
    await hold_secret(cache)

    mine, theirs = await cache.get("/v2/_catalog"), await cache.get("/v2/_catalog", ELSEWHERE)

    assert mine.json()["repositories"] == [f"docker.io/{PRIVATE}", f"docker.io/{PUBLIC}"]
    assert theirs.json()["repositories"] == [f"docker.io/{PUBLIC}"]


@pytest.mark.parametrize("thing", ["tags/list", f"referrers/{SECRET.digest}"])
async def test_others_do_not_see_private_lists(cache, thing):
    assert (await cache.get(f"/v2/{PRIVATE}/{thing}")).status == 200

    assert (await cache.get(f"/v2/{PRIVATE}/{thing}", ELSEWHERE)).status == 404


@pytest.mark.parametrize(("visibility", "statuses"), [("public", [200] * 4), ("private", [404] * 4)])
async def test_visibility_can_be_said_instead_of_asked(start, upstream, visibility, statuses):
    cache = await start(**ANN, visibility=visibility)
    name, held = (PRIVATE, SECRET) if visibility == "public" else (PUBLIC, OPEN)

    got = [await cache.get(path, ELSEWHERE) for path in every_path(name, held)]

    assert [each.status for each in got] == statuses
    assert all("Authorization" in seen.headers for seen in upstream.auth.requests)


async def test_a_credential_stays_with_its_upstream(cache, upstream, other_upstream):
    other_upstream.add_image("org/app", OPEN, tag="1")
    upstream.redirects = {"blobs"}

    await cache.get_manifest("ghcr.io/org/app", "1")
    await cache.get_blob(PRIVATE, SECRET_LAYER.digest)

    elsewhere = [*other_upstream.requests, *upstream.cdn.requests]
    assert [seen for seen in elsewhere if "Authorization" in seen.headers] == []


async def test_an_unused_blob_of_nobody_is_not_there(cache):
    assert (await cache.get_blob(PUBLIC, blob(5).digest, ELSEWHERE)).status == 404
