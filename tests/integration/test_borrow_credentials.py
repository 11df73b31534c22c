"""An upstream for which we have credentials: what everybody can read is lent, whatever becomes of these."""

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.store.purge import Wanted
from proxycache.upstream.settings import Secret
from tests.builders import OCI_CONFIG, image_of, index, json_content
from tests.fakes.auth import TokenAuth
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import (
    BASE,
    BOTH,
    CANONICAL,
    DAY,
    FIRST_LAYER,
    HOUR,
    LENT,
    NAME,
    learn,
    ledger,
    loans,
    push_on_base,
    sizes,
)
from tests.integration.conftest import StartCache
from tests.integration.harness import Cache
from tests.integration.pushing import APP, OTHER, missing_of, put_manifest

PRIVATE = "corp/app"


def let_in(upstream: FakeRegistry, password: str, *private: str) -> None:
    """Let the upstream take this password from now on, and no token that it gave out before."""
    upstream.auth = TokenAuth(username="hub", password=password, private={PRIVATE, *private})


async def start_with_password(start: StartCache, upstream: FakeRegistry, visibility: str = "auto") -> Cache:
    let_in(upstream, "secret")
    return await start(username="hub", password=Secret("secret"), visibility=visibility)


async def forget_what_is_public(cache: Cache) -> None:
    """Let it not be known whether the base's repository is public; what is borrowed from it stays known."""
    await cache.parts.tables.purge.forget(Wanted(names=(CANONICAL,)), is_dry=False)


# --- a password that counts no more ---


@pytest.mark.parametrize(("visibility", "private"), [("auto", PRIVATE), ("public", NAME)])
async def test_a_password_that_counts_no_more_is_not_taken_for_no(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock, visibility: str, private: str
) -> None:
    """Neither where everybody can read the base upstream nor where we are to give to everybody what only we can."""
    cache = await start_with_password(start, upstream, visibility)
    await learn(cache, upstream)
    clock.advance(2 * HOUR)
    let_in(upstream, "changed", private)

    offered = await sizes(cache, *BASE.layers)
    pushed = await push_on_base(cache)

    assert (offered, pushed.status) == (BOTH, 201)
    assert [set(await ledger(cache, layer)) for layer in BASE.layers] == [{CANONICAL}, {CANONICAL}]


async def test_a_password_that_counts_no_more_is_told_as_our_trouble(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    cache = await start_with_password(start, upstream)
    await learn(cache, upstream)
    await push_on_base(cache)
    let_in(upstream, "changed", NAME)
    clock.advance(HOUR)

    answer = await cache.get(f"/v2/{APP}/blobs/{FIRST_LAYER.digest}")

    assert (answer.status, b"refuses us" in answer.body) == (502, True)


async def test_what_everybody_is_told_counts_as_an_answer(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    """Also of what nobody has asked about for days, of which silence would not do."""
    cache = await start_with_password(start, upstream)
    await learn(cache, upstream)
    clock.advance(2 * DAY)
    let_in(upstream, "changed")

    assert (await push_on_base(cache)).status == 201
    assert await loans(cache) == LENT


async def test_what_became_private_is_gone_whatever_the_password_is(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    cache = await start_with_password(start, upstream)
    await learn(cache, upstream)
    clock.advance(2 * HOUR)
    let_in(upstream, "changed", NAME)

    assert await sizes(cache, *BASE.layers) == [None, None]
    assert await ledger(cache, FIRST_LAYER) == {}


async def test_a_child_that_is_refused_to_our_password_is_not_called_unknown(
    start: StartCache, upstream: FakeRegistry
) -> None:
    cache = await start_with_password(start, upstream)
    pushed = index([BASE])
    await learn(cache, upstream, pushed)
    let_in(upstream, "changed")

    assert (await put_manifest(cache, pushed.manifest, "v1")).status == 503


# --- silence ---


async def confirm_now(cache: Cache, clock: FakeClock) -> None:
    """Let the layers have been seen just now, as by pulls."""
    for layer in BASE.layers:
        origins = cache.parts.tables.origins
        await origins.confirm(await origins.list_origins(parse_digest(layer.digest)), now=clock.now())


async def test_that_it_was_public_counts_while_the_upstream_hangs(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    cache = await start_with_password(start, upstream)
    await learn(cache, upstream)
    clock.advance(DAY + HOUR)
    await confirm_now(cache, clock)
    upstream.silent = True

    assert await sizes(cache, *BASE.layers) == BOTH
    assert (await push_on_base(cache)).status == 201
    clock.advance(HOUR)
    assert await sizes(cache, *BASE.layers) == BOTH


async def test_nobody_is_told_of_what_was_never_known_to_be_public(start: StartCache, upstream: FakeRegistry) -> None:
    """A push that borrows it already is told that nobody can tell; another one as if nobody had it."""
    cache = await start_with_password(start, upstream)
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await forget_what_is_public(cache)
    await upstream.stop()

    again = await push_on_base(cache)
    elsewhere = await put_manifest(cache, BASE.manifest, "v1", OTHER)

    assert (again.status, CANONICAL in again.message) == (503, True)
    assert await sizes(cache, *BASE.layers, repository=OTHER) == [None, None]
    assert missing_of(elsewhere) == {each.digest for each in BASE.blobs()}


@pytest.mark.parametrize("trouble", ["down", "offline"])
async def test_what_is_borrowed_is_not_called_unknown_when_nobody_tells_whether_it_is_public(
    start: StartCache, upstream: FakeRegistry, trouble: str
) -> None:
    cache = await start_with_password(start, upstream)
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    await forget_what_is_public(cache)
    if trouble == "down":
        await upstream.stop()
    else:
        cache = await start(username="hub", password=Secret("secret"), visibility="auto", offline=True)

    got = await cache.get_blob(APP, FIRST_LAYER.digest)

    assert got.status == (502 if trouble == "down" else 504)


async def test_what_is_private_now_is_called_unknown(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    cache = await start_with_password(start, upstream)
    await learn(cache, upstream)
    assert (await push_on_base(cache)).status == 201
    let_in(upstream, "secret", NAME)
    clock.advance(DAY)

    assert (await cache.get_blob(APP, FIRST_LAYER.digest)).status == 404


# --- what only our credentials can read ---


async def test_many_private_images_on_a_base_do_not_hide_who_may_lend_it(
    start: StartCache, upstream: FakeRegistry, clock: FakeClock
) -> None:
    names = [f"corp/app-{number}" for number in range(40)]
    cache = await start_with_password(start, upstream)
    let_in(upstream, "secret", *names)
    await learn(cache, upstream)
    clock.advance(1)
    for name in names:
        await learn(cache, upstream, image_of(BASE.layers, json_content({"of": name}, OCI_CONFIG)), name=name)

    assert await sizes(cache, *BASE.layers) == BOTH
    assert (await push_on_base(cache)).status == 201
    assert await loans(cache) == LENT
    assert (await cache.get_blob(APP, FIRST_LAYER.digest)).body == FIRST_LAYER.body
