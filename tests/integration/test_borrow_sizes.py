"""Upstreams that contradict each other about how large a blob is: the size goes into the pusher's manifest."""

import json

import pytest

from proxycache.upstream.settings import Secret
from tests.builders import OCI_MANIFEST, Content, json_content
from tests.fakes.auth import TokenAuth
from tests.fakes.clock import FakeClock
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    CANONICAL,
    CONFIG,
    FIRST_LAYER,
    LENT,
    SECOND_LAYER,
    asked,
    learn,
    ledger,
    loans,
    push_on_base,
    sizes,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import manifest_of

LIAR = "library/liar"


def _lie() -> Content:
    document = json.loads(manifest_of(*BASE.layers, config=CONFIG).body)
    document["layers"][0]["size"] = 5
    return json_content(document, OCI_MANIFEST)


async def learn_lie(cache: Cache, upstream: FakeRegistry, name: str = LIAR) -> None:
    """Let somebody's manifest say that the first layer has another size, after the base's did."""
    upstream.add_manifest(name.removeprefix("ghcr.io/"), _lie(), tag="1")
    assert (await cache.get_manifest(name, "1")).status == 200
    upstream.requests.clear()


@pytest.fixture
async def contradicted(cache: Cache, upstream: FakeRegistry, clock: FakeClock) -> Cache:
    await learn(cache, upstream)
    clock.advance(1)
    await learn_lie(cache, upstream)
    return cache


@pytest.mark.parametrize("trouble", ["down", "broken"])
async def test_silence_does_not_settle_who_is_right(contradicted: Cache, upstream: FakeRegistry, trouble: str) -> None:
    if trouble == "down":
        await upstream.stop()
    else:
        upstream.faults.add(answer(503), on=f"/blobs/{FIRST_LAYER.digest}", times=None)

    offered = await sizes(contradicted, *BASE.layers)
    pushed = await push_on_base(contradicted)

    assert (offered, pushed.status) == ([None, SECOND_LAYER.size], 503)
    assert await loans(contradicted) == {}


async def test_who_answers_is_right_while_the_other_one_is_silent(contradicted: Cache, upstream: FakeRegistry) -> None:
    upstream.faults.add(answer(503), on=f"{LIAR}/blobs/", times=None)

    assert await sizes(contradicted, FIRST_LAYER) == [FIRST_LAYER.size]
    assert (await push_on_base(contradicted)).status == 201
    assert await loans(contradicted) == LENT | {SECOND_LAYER.digest: "docker.io/library/liar"}


async def test_whoever_is_wrong_is_forgotten_once_it_answers(contradicted: Cache, upstream: FakeRegistry) -> None:
    upstream.add_blob(LIAR, FIRST_LAYER)

    assert await sizes(contradicted, FIRST_LAYER) == [FIRST_LAYER.size]
    assert set(await ledger(contradicted, FIRST_LAYER)) == {CANONICAL}


async def test_who_may_not_lend_contradicts_nobody(
    start: StartCache, upstream: FakeRegistry, other_upstream: FakeRegistry
) -> None:
    """Neither a registry that nothing is borrowed from nor what is private."""
    private = "corp/liar"
    upstream.auth = TokenAuth(username="hub", password="secret", private={private})
    cache = await start(username="hub", password=Secret("secret"), visibility="auto")
    await learn(cache, upstream)
    await learn_lie(cache, other_upstream, "ghcr.io/org/liar")
    await learn_lie(cache, upstream, private)
    assert len(await ledger(cache, FIRST_LAYER)) == 3

    assert await sizes(cache, FIRST_LAYER) == [FIRST_LAYER.size]
    assert (asked(upstream), asked(other_upstream)) == ([], [])
