"""Indexes whose children an origin has: they are fetched, at once, and count as blobs do."""

import asyncio
from pathlib import Path

import bcrypt
import pytest

from proxycache.oci.digest import parse_digest
from proxycache.policy.permissions import AccessRule, Action
from proxycache.registry.borrow import Verdict
from proxycache.registry.settings import AuthSettings
from tests.builders import OCI_INDEX, Content, Image, image, index, json_content
from tests.fakes.clock import FakeClock
from tests.fakes.faults import never_answer, slow_headers
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import CANONICAL, DAY, FIRST_LAYER, HOUR, learn
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import push_blob, put_manifest
from tests.integration.test_mounts import sign_in

CHILDREN = tuple(image(layers=1, seed=f"child {number}") for number in range(8))
PLATFORMS = tuple(f"linux/child{number}" for number in range(8))
PUBLISHED = index(CHILDREN, platforms=PLATFORMS)
ANN_S, MALLORY_S = "local/ann", "local/mallory"


def index_of(*children: Image) -> Content:
    """Return an index of which the origin has the children, and not itself."""
    named = [child.manifest.descriptor() for child in children]
    return json_content({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": named}, OCI_INDEX)


@pytest.fixture
def auth(tmp_path: Path) -> AuthSettings:
    users = tmp_path / "users"
    hashes = {name: bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode() for name in ("ann", "mallory")}
    users.write_text("".join(f"{name}:{hashed}\n" for name, hashed in hashes.items()))
    both = (Action.PULL, Action.PUSH)
    rules = (
        AccessRule(who="anonymous", repositories=("docker.io/**",)),
        AccessRule(who="ann", repositories=(ANN_S,), actions=both),
        AccessRule(who="mallory", repositories=(MALLORY_S,), actions=both),
    )
    return AuthSettings(users_file=str(users), access=rules)


@pytest.mark.parametrize("is_pushed_by_somebody", [False, True])
async def test_a_child_that_somebody_else_has_pushed_is_had_from_its_origin_all_the_same(
    start: StartCache, upstream: FakeRegistry, auth: AuthSettings, *, is_pushed_by_somebody: bool
) -> None:
    cache, child = await start(auth=auth), CHILDREN[0]
    await learn(cache, upstream, PUBLISHED)
    if is_pushed_by_somebody:
        for each in child.blobs():
            await push_blob(cache, each, ANN_S, sign_in("ann"))
        assert (await put_manifest(cache, child.manifest, "1", ANN_S, sign_in("ann"))).status == 201

    got = await put_manifest(cache, index_of(child), "1", MALLORY_S, sign_in("mallory"))

    assert got.status == 201


async def test_children_are_fetched_at_once(cache: Cache, upstream: FakeRegistry) -> None:
    """None is answered before all are asked for, so that one after another would never end."""
    await learn(cache, upstream, PUBLISHED)
    gates = [Gate() for _ in CHILDREN]
    for child, gate in zip(CHILDREN, gates, strict=True):
        upstream.faults.add(slow_headers(gate), on=child.digest, times=None)

    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(put_manifest(cache, index_of(*CHILDREN), "v1"))
        for gate in gates:
            await gate.arrived.wait()
        for gate in gates:
            gate.open()

    assert pushing.result().status == 201


async def test_all_that_a_push_asks_has_one_time_limit(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    """What came to light only when it was over is no longer asked for."""
    hanging, child = CHILDREN[:2]
    await learn(cache, upstream, child, tag="child")
    clock.advance(2 * DAY)
    await learn(cache, upstream, PUBLISHED)
    upstream.faults.add(never_answer(), on=hanging.digest, times=None)

    got = await put_manifest(cache, index_of(hanging, child), "v1")

    assert (got.status, CANONICAL in got.message) == (503, True)
    assert upstream.count("HEAD", child.layers[0].digest) == 0


async def test_nobody_is_asked_when_the_time_is_over(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> None:
    borrower, digest = cache.edge.services.borrower, parse_digest(FIRST_LAYER.digest)
    await learn(cache, upstream)
    now = asyncio.get_running_loop().time()

    clock.advance(2 * HOUR)
    today = await borrower.offer([digest], None, until=now)
    clock.advance(DAY)
    later = await borrower.offer([digest], None, until=now)
    fetched = await borrower.fetch_manifests(later.untold, until=now)

    assert [each.repository for each in today.borrowed.values()] == [CANONICAL]
    assert (later.borrowed, [each.repository for each in later.untold]) == ({}, [CANONICAL])
    assert fetched == {digest: Verdict.UNKNOWN}
    assert upstream.requests == []
