"""What a purge marks and cannot remove, since somebody reads it: it goes later, if nobody pulls it again before."""

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.store.purge import Wanted
from proxycache.store.removal import remove_files
from tests.builders import Image, image
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache

NAME = "library/alpine"
CANONICAL = f"docker.io/{NAME}"


@pytest.fixture
async def pulled(cache: Cache, upstream: FakeRegistry) -> Image:
    """An image of one layer, that is held."""
    added = upstream.add_image(NAME, image(layers=1), tag="1")
    await pull(cache, added)
    await cache.wait_for_fills(2)
    return added


async def pull(cache: Cache, pulled: Image) -> None:
    assert (await cache.get_manifest(NAME, "1")).body == pulled.body
    for content in pulled.blobs():
        assert (await cache.get_blob(NAME, content.digest)).body == content.body


async def purge(cache: Cache, wanted: Wanted) -> set[str]:
    """Purge; return what stays for being read."""
    tables, blobs = cache.parts.tables, cache.parts.fill_services.blobs
    purged = await tables.purge.forget(wanted, is_dry=False)
    removed = await remove_files(blobs, tables.usage, purged.leaving)
    await tables.usage.forget(removed.gone, blobs.has)
    return {str(item.digest) for item in removed.stayed}


@pytest.mark.parametrize("wanted", [Wanted(names=[CANONICAL]), Wanted(names=[CANONICAL], is_tag="1".__eq__)])
async def test_what_was_purged_while_it_was_read_stays_once_it_is_pulled_again(
    cache: Cache, upstream: FakeRegistry, pulled: Image, wanted: Wanted
) -> None:
    layer = parse_digest(pulled.layers[0].digest)
    reader = cache.parts.fill_services.blobs.open(layer)
    assert reader is not None

    with reader:
        assert await purge(cache, wanted) == {str(layer)}
        assert await cache.parts.tables.usage.is_leaving(layer)
        await pull(cache, pulled)
        assert not await cache.parts.tables.usage.is_leaving(layer)
    asked = len(upstream.requests)
    await cache.collect()

    await pull(cache, pulled)
    assert len(upstream.requests) == asked


async def test_what_a_tag_has_come_to_need_is_not_collected_though_nobody_has_read_it_since(
    cache: Cache, pulled: Image
) -> None:
    layer = parse_digest(pulled.layers[0].digest)
    reader = cache.parts.fill_services.blobs.open(layer)
    assert reader is not None
    with reader:
        await purge(cache, Wanted(names=[CANONICAL]))
        await cache.get_manifest(NAME, "1")

    await cache.collect()

    assert cache.holds(str(layer))
    await purge(cache, Wanted(names=[CANONICAL]))
    assert not cache.holds(str(layer))
