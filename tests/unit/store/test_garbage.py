import random

import pytest

from proxycache.oci import media_types
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.garbage import GRACE_SECONDS, LONGEST_GRACE_SECONDS, Foreseen, Moment
from proxycache.store.links import BlobRow
from proxycache.store.local_push import ManifestPush, Needed
from proxycache.store.manifests import ManifestRow
from proxycache.store.tables import Tables
from proxycache.store.usage import FIRST

APP, OTHER, HUB = "local/app", "local/other", "docker.io/library/base"
LAYER, MANIFEST = digest_of(b"layer"), digest_of(b"manifest")
LATER = 100.0 + GRACE_SECONDS + 1
MUCH_LATER = 100.0 + LONGEST_GRACE_SECONDS + 1


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


def is_back(_: Digest) -> bool:
    """There are no files in these tests."""
    return False


async def record(tables: Tables, digest: Digest, *layers: Digest, repository: str = APP, now: float = 100.0) -> bool:
    descriptors = [Descriptor(media_type="application/octet-stream", digest=layer, size=5) for layer in layers]
    push = ManifestPush(
        repository=repository,
        row=ManifestRow(digest=digest, media_type=media_types.OCI_MANIFEST, size=7),
        references=descriptors,
        needed=[Needed(layer, is_manifest=False) for layer in layers],
        tags=("1",),
        pushed_at=now,
    )
    return await tables.local_content.record_manifest(push) == []


async def collect(tables: Tables, now: float, *uploading: str) -> set[Digest]:
    """Collect as the job does, without any files; return what would be unlinked."""
    await tables.garbage.remove_unneeded(Moment(now=now, uploading=uploading))
    await tables.garbage.let_go(await tables.garbage.list_orphans())
    leaving = await tables.usage.list_leaving()
    await tables.usage.forget(leaving, is_back)
    return {candidate.digest for candidate in leaving}


async def test_an_upload_without_a_manifest_goes_after_its_grace(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)

    assert await collect(tables, 100.0 + GRACE_SECONDS - 1) == set()
    assert await collect(tables, LATER) == {LAYER}
    assert await tables.links.find(LAYER) is None


async def test_what_a_manifest_needs_stays_for_ever(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    assert await record(tables, MANIFEST, LAYER)

    assert await collect(tables, MUCH_LATER * 100) == set()
    assert await tables.local_content.has_link(APP, LAYER)


async def test_the_grace_begins_anew_when_a_manifest_is_deleted(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    await record(tables, MANIFEST, LAYER)
    await tables.local_content.remove_manifest(APP, MANIFEST, now=LATER)

    assert await collect(tables, LATER + 1) == {MANIFEST}
    assert await collect(tables, LATER + GRACE_SECONDS + 1) == {LAYER}


async def test_a_shared_layer_goes_with_the_last_who_has_it(tables: Tables) -> None:
    for repository in (APP, OTHER):
        await tables.local_content.link_blob(repository, LAYER, 5, now=100.0)
        await record(tables, MANIFEST, LAYER, repository=repository)
    await tables.local_content.remove_manifest(APP, MANIFEST, now=100.0)
    await tables.local_content.remove_blob(APP, LAYER)

    assert await collect(tables, MUCH_LATER) == set()

    await tables.local_content.remove_manifest(OTHER, MANIFEST, now=100.0)
    assert await collect(tables, MUCH_LATER) == {MANIFEST, LAYER}


async def test_an_open_push_keeps_what_it_has_sent_for_a_day(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)

    assert await collect(tables, LATER, APP) == set()
    assert await collect(tables, MUCH_LATER, APP) == {LAYER}


async def test_a_layer_sent_early_lives_as_long_as_the_push_goes_on(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    await tables.local_content.link_blob(APP, digest_of(b"second"), 5, now=LATER - 10)

    assert await collect(tables, LATER) == set()


async def test_what_an_upstream_repository_has_is_cached_again(tables: Tables) -> None:
    row = BlobRow(digest=LAYER, size=5, is_public=True, stored_at=1.0)
    await tables.links.record(row, repository=HUB)
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    assert await tables.usage.cached_bytes() == 0

    assert await collect(tables, LATER) == set()

    assert await tables.usage.cached_bytes() == 4096
    found = await tables.links.find(LAYER)
    assert found is not None
    assert found.is_public


async def test_what_is_pushed_again_while_it_leaves_stays(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    await tables.garbage.remove_unneeded(Moment(now=LATER, uploading=()))
    await tables.garbage.let_go(await tables.garbage.list_orphans())

    await tables.local_content.link_blob(APP, LAYER, 5, now=LATER)

    assert not await tables.usage.is_leaving(LAYER)
    assert await tables.local_content.has_link(APP, LAYER)


async def test_a_promise_made_anew_counts_from_then(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    await tables.local_content.renew_link(APP, LAYER, now=LATER - 1)

    assert await collect(tables, LATER) == set()


async def test_the_facts_of_a_collected_manifest_go_with_it(tables: Tables) -> None:
    await tables.local_content.link_blob(APP, LAYER, 5, now=100.0)
    await record(tables, MANIFEST, LAYER)
    await tables.local_content.remove_manifest(APP, MANIFEST, now=100.0)

    await collect(tables, LATER)

    assert await tables.manifests.find(MANIFEST) is None


class Registry:
    """Pushes, deletions and single steps of a collection, and what has to be there after each."""

    def __init__(self, tables: Tables, seed: int) -> None:
        self.chance = random.Random(seed)
        self._tables = tables
        self._now = 100.0
        self._layers = [digest_of(bytes([number])) for number in range(4)]
        self._content = {digest_of(bytes([number, 1])): self.chance.sample(self._layers, 2) for number in range(4)}
        self._images: dict[tuple[str, Digest], list[Digest]] = {}
        self._orphans: list[Digest] = []

    def _choose(self) -> tuple[str, Digest]:
        self._now += self.chance.choice((1.0, 600.0, GRACE_SECONDS))
        return self.chance.choice((APP, OTHER)), self.chance.choice(list(self._content))

    async def push_layer(self) -> None:
        repository, _ = self._choose()
        await self._tables.local_content.link_blob(repository, self.chance.choice(self._layers), 5, now=self._now)

    async def push_manifest(self) -> None:
        repository, manifest = self._choose()
        layers = self._content[manifest]
        if await record(self._tables, manifest, *layers, repository=repository, now=self._now):
            self._images[repository, manifest] = layers

    async def delete_manifest(self) -> None:
        repository, manifest = self._choose()
        await self._tables.local_content.remove_manifest(repository, manifest, now=self._now)
        self._images.pop((repository, manifest), None)

    async def look_for_garbage(self) -> None:
        self._choose()
        await self._tables.garbage.remove_unneeded(Moment(now=self._now, uploading=()))
        self._orphans = await self._tables.garbage.list_orphans()

    async def let_garbage_go(self) -> None:
        await self._tables.garbage.let_go(self._orphans)

    async def check(self) -> None:
        for (repository, manifest), layers in self._images.items():
            assert await self._tables.local_content.find_manifest(repository, manifest) is not None
            for layer in layers:
                assert await self._tables.local_content.has_link(repository, layer)
                assert await self._tables.links.find(layer) is not None
                assert not await self._tables.usage.is_leaving(layer)


@pytest.mark.parametrize("seed", range(8))
async def test_in_any_order_no_image_loses_a_layer(tables: Tables, seed: int) -> None:
    registry = Registry(tables, seed)
    steps = [
        registry.push_layer,
        registry.push_layer,
        registry.push_manifest,
        registry.push_manifest,
        registry.delete_manifest,
        registry.look_for_garbage,
        registry.let_garbage_go,
    ]
    for _ in range(300):
        await registry.chance.choice(steps)()
        await registry.check()


@pytest.mark.parametrize(
    "change", ["pins VALUES ('docker.io/library/base', '', 1.0)", "tags VALUES ('a', 'b', ?, '', 5, 1)"]
)
async def test_what_was_marked_and_is_pinned_or_needed_by_now_is_not_foreseen(
    tables: Tables, database: Database, change: str
) -> None:
    await tables.links.record(
        BlobRow(digest=LAYER, size=5, is_public=True, stored_at=1.0), repository="docker.io/library/base"
    )
    await tables.usage.mark_leaving(FIRST, need=1, most=1)
    moment = Moment(now=LATER, uploading=())
    assert await tables.garbage.foresee(moment) == Foreseen(links=0, blobs=1, size=5)

    async with database.transaction() as connection:
        await connection.execute(f"INSERT INTO {change}", (str(LAYER),) * change.count("?"))

    assert await tables.garbage.foresee(moment) == Foreseen(links=0, blobs=0, size=0)
