"""What is borrowed and held here is given from the disk, and what cannot be told is not called unknown."""

import sqlite3
from contextlib import closing

import pytest

from proxycache.policy.permissions import AccessRule, Action
from proxycache.registry.settings import AuthSettings
from proxycache.store.purge import Wanted
from proxycache.upstream.settings import Secret
from tests.fakes.auth import TokenAuth
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    BOTH,
    CANONICAL,
    FIRST_LAYER,
    LENT,
    NAME,
    OWN,
    TWIN,
    asked,
    evict_all,
    hold,
    learn,
    loans,
    push_on_base,
    sizes,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP, OTHER, push_blob
from tests.integration.test_disk_trouble import break_database

EVERYBODY_MAY = AuthSettings(
    access=(AccessRule(who="anonymous", repositories=("**",), actions=(Action.PULL, Action.PUSH)),)
)


async def pull_layers(cache: Cache) -> list[int]:
    return [(await cache.get_blob(APP, layer.digest)).status for layer in BASE.layers]


# --- what is held ---


@pytest.fixture
async def held_for_another(start: StartCache, upstream: FakeRegistry) -> Cache:
    """A cache with rules, whose repository borrows from NAME what came here through TWIN."""
    cache = await start(auth=EVERYBODY_MAY)
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await learn(cache, upstream, name=TWIN)
    await hold(cache, *BASE.layers, name=TWIN)
    assert await loans(cache) == LENT
    upstream.requests.clear()
    return cache


async def test_what_another_lender_gave_comes_from_the_disk(held_for_another: Cache, upstream: FakeRegistry) -> None:
    assert await pull_layers(held_for_another) == [200, 200]
    assert (await held_for_another.get_range(APP, FIRST_LAYER.digest, "5-9")).body == FIRST_LAYER.body[5:10]

    assert asked(upstream) == []


async def test_what_another_lender_gave_is_given_while_the_registry_is_down(
    held_for_another: Cache, upstream: FakeRegistry
) -> None:
    await upstream.stop()

    assert await pull_layers(held_for_another) == [200, 200]
    assert await sizes(held_for_another, *BASE.layers) == BOTH


async def test_what_is_here_for_others_only_is_not_given_while_the_registry_is_down(
    start: StartCache, upstream: FakeRegistry
) -> None:
    cache = await start(auth=EVERYBODY_MAY)
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await push_blob(cache, FIRST_LAYER, OTHER)
    assert cache.holds(FIRST_LAYER.digest)
    await upstream.stop()

    assert await pull_layers(cache) == [502, 502]


async def test_what_the_origin_gave_is_found_whoever_else_has_it(cache: Cache, upstream: FakeRegistry) -> None:
    """Many may have a layer of a public base: who they are is not looked up."""
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await hold(cache, *BASE.layers)
    upstream.requests.clear()
    with closing(sqlite3.connect(cache.parts.layout.database)) as database, database:
        database.execute("ALTER TABLE local_manifests RENAME TO hidden")

    assert await pull_layers(cache) == [200, 200]

    assert asked(upstream) == []


# --- what cannot be told ---


async def test_where_the_database_cannot_tell_what_is_not_held_is_not_called_unknown(
    cache: Cache, upstream: FakeRegistry
) -> None:
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    break_database(cache.parts.layout)

    got = await cache.get_blob(APP, FIRST_LAYER.digest)
    looked = await cache.head(f"/v2/{APP}/blobs/{FIRST_LAYER.digest}")
    own = await cache.get_blob(APP, OWN.digest)

    assert (got.status, looked.status, own.body) == (503, 503, OWN.body)


async def test_who_could_not_be_asked_whether_it_is_public_did_not_say_no(
    start: StartCache, upstream: FakeRegistry
) -> None:
    upstream.auth = TokenAuth(username="hub", password="secret", private={"corp/app"})
    cache = await start(username="hub", password=Secret("secret"), visibility="auto")
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await cache.parts.tables.purge.forget(Wanted(names=(CANONICAL,)), is_dry=False)
    await evict_all(cache)
    await upstream.stop()

    while_down = await pull_layers(cache)
    await upstream.start()
    upstream.auth.private.add(NAME)
    upstream.auth.revoke_all()

    assert while_down == [502, 502]
    assert await pull_layers(cache) == [404, 404]
