"""A pusher whose image stands on a public base, of which it sends nothing."""

from proxycache.oci.digest import parse_digest
from proxycache.oci.names import parse_tag
from proxycache.registry.learn_base import Base
from proxycache.store.removal import remove_files
from proxycache.store.usage import FIRST
from tests.builders import OCI_CONFIG, Content, Image, blob, image, json_content
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Answer, Cache
from tests.integration.pushing import APP, manifest_of, push_blob, put_manifest

NAME, CANONICAL = "library/base", "docker.io/library/base"
TWIN, CANONICAL_TWIN = "library/twin", "docker.io/library/twin"
HOUR, DAY = 3_600.0, 86_400.0
BASE = image(layers=2, layer_size=100_000, seed="base")
FIRST_LAYER, SECOND_LAYER = BASE.layers
BOTH = [FIRST_LAYER.size, SECOND_LAYER.size]
LENT = dict.fromkeys((FIRST_LAYER.digest, SECOND_LAYER.digest), CANONICAL)
TAGGED = Base(repository=CANONICAL, tag=parse_tag("1"))
PLATFORMS = ("linux/amd64", "linux/arm64")
ON_TWO = image(platforms=PLATFORMS, seed="two")
OWN = blob(700, seed="own")
CONFIG = json_content({"of": "the app"}, OCI_CONFIG)
ON_BASE = manifest_of(*BASE.layers, OWN, config=CONFIG)
Workers = tuple[Cache, Cache]


async def learn(cache: Cache, upstream: FakeRegistry, base: Image = BASE, *, name: str = NAME, tag: str = "1") -> None:
    """Let a base's manifest come through the cache, and nothing else of it; what was asked so far is not counted."""
    upstream.add_image(name.removeprefix("ghcr.io/"), base, tag=tag)
    assert (await cache.get_manifest(name, tag)).status == 200
    upstream.requests.clear()


async def hold(cache: Cache, *layers: Content, name: str = NAME) -> None:
    """Let the cache hold layers of an upstream's repository."""
    before = len(cache.fills)
    for layer in layers:
        assert (await cache.get_blob(name, layer.digest)).status == 200
    await cache.wait_for_fills(before + len(layers))


async def evict_all(cache: Cache) -> None:
    """Evict everything that is only cached, as the need for space does in the end."""
    usage, blobs = cache.parts.tables.usage, cache.parts.fill_services.blobs
    chosen, _ = await usage.mark_leaving(FIRST, need=2**40, most=1000)
    removed = await remove_files(blobs, usage, chosen)
    await usage.forget(removed.gone, blobs.has)


async def remove_file(cache: Cache, content: Content) -> None:
    """Let the bytes of one go, as if they had been evicted."""

    async def is_to_go(_: object) -> bool:
        return True

    assert await cache.parts.fill_services.blobs.remove(parse_digest(content.digest), is_to_go)


async def head(cache: Cache, layer: Content, repository: str = APP, headers: dict[str, str] | None = None) -> Answer:
    return await cache.head(f"/v2/{repository}/blobs/{layer.digest}", headers)


async def sizes(cache: Cache, *layers: Content, repository: str = APP) -> list[int | None]:
    """Return what HEAD says of each: its size, or None for 404."""
    answers = [await head(cache, layer, repository) for layer in layers]
    assert {answer.status for answer in answers} <= {200, 404}
    return [int(answer.headers["Content-Length"]) if answer.status == 200 else None for answer in answers]


async def push_on_base(
    cache: Cache, manifest: Content = ON_BASE, reference: str = "v1", headers: dict[str, str] | None = None
) -> Answer:
    """Push an image of which only OWN and CONFIG are sent."""
    for each in (OWN, CONFIG):
        await push_blob(cache, each, headers=headers)
    return await put_manifest(cache, manifest, reference, headers=headers)


def config_for(*diff_ids: str) -> Content:
    """Return a config that says what its image's layers are unpacked."""
    return json_content({"rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}, OCI_CONFIG)


async def push_on(cache: Cache, base: Image, tag: str = "v1", *, own: Content = OWN) -> Content:
    """Push an image of a base's layers and one of its own, of which only that one and the config are sent."""
    config = config_for(*(layer.digest for layer in (*base.layers, own)))
    manifest = manifest_of(*base.layers, own, config=config)
    for each in (own, config):
        await push_blob(cache, each)
    assert (await put_manifest(cache, manifest, tag)).status == 201
    return manifest


async def borrow(cache: Cache, upstream: FakeRegistry, base: Image = BASE) -> Content:
    """Learn a base by its manifest only, and push an image that borrows its layers."""
    await learn(cache, upstream, base)
    pushed = await push_on(cache, base)
    upstream.requests.clear()
    return pushed


async def loans(cache: Cache, repository: str = APP) -> dict[str, str]:
    """Return what a repository borrows, and from whom."""
    rows = await cache.parts.database.fetch(
        "SELECT digest, origin FROM borrowed_links WHERE repository = ?", (repository,)
    )
    return dict(rows)


async def owned(cache: Cache, repository: str = APP) -> set[str]:
    """Return which blobs a repository owns."""
    rows = await cache.parts.database.fetch("SELECT digest FROM local_links WHERE repository = ?", (repository,))
    return {digest for (digest,) in rows}


async def ledger(cache: Cache, layer: Content) -> dict[str, tuple[int, str]]:
    """Return who is known to have it: size and media type."""
    known = await cache.parts.tables.origins.list_origins(parse_digest(layer.digest))
    return {each.repository: (each.size, each.media_type) for each in known}


def lose(upstream: FakeRegistry, *layers: Content, name: str = NAME) -> None:
    """Let the origin have these no more."""
    for layer in layers:
        del upstream.repository(name).blobs[layer.digest]


def asked(upstream: FakeRegistry) -> list[tuple[str, str]]:
    """Return what an upstream was asked: method and last part of the path."""
    return [(seen.method, seen.path.rpartition("/")[2]) for seen in upstream.requests]


async def mount(cache: Cache, query: str, headers: dict[str, str] | None = None) -> Answer:
    return await cache.send("POST", f"/v2/{APP}/blobs/uploads/?mount={FIRST_LAYER.digest}{query}", headers=headers)
