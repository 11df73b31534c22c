"""Pushes, deletions, mounts, evictions and collections of two workers at once: no image is ever incomplete."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from proxycache.oci.digest import Digest, digest_of, parse_digest
from proxycache.oci.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown, Unsupported
from proxycache.oci.names import parse_tag
from proxycache.registry.access import Caller, LocalRepository
from proxycache.registry.push_blob import Body
from proxycache.registry.push_manifest import PushRequest
from proxycache.store.garbage import GRACE_SECONDS
from proxycache.web.exchange import Services
from tests.builders import OCI_CONFIG, Content, Image, blob, content, index
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache
from tests.integration.pushing import APP, OTHER, manifest_of

T = TypeVar("T")

HUB = "library/base"
LAYERS = [blob(3_000 + number, seed=number) for number in range(5)]
CONFIG = content(b"{}", OCI_CONFIG)
IMAGES = [
    Image(manifest=manifest_of(*chosen), config=CONFIG, layers=tuple(chosen))
    for chosen in (LAYERS[:2], LAYERS[1:4], LAYERS[3:], LAYERS[::2])
]
INDEXES = [index(IMAGES[:2]), index([index(IMAGES[:1]), IMAGES[3]])]
PUSHABLE = IMAGES + INDEXES
REPOSITORIES = [LocalRepository(name=name, is_for_anybody=True) for name in (APP, OTHER)]
CALLER = Caller(is_loopback=True)
TAGS = [parse_tag(text) for text in "ab"]


class World:
    """What clients do at the jobs of both workers, and what has to be true whenever nobody does anything.

    One image at a time, so that they get into each other's way.
    """

    def __init__(self, workers: Sequence[Cache], clock: FakeClock, chance: random.Random) -> None:
        self._workers = workers
        self._clock = clock
        self._chance = chance
        self.done = Counter[str]()

    def _choose(self, items: Sequence[T]) -> T:
        return self._chance.choice(items)

    def _services(self) -> Services:
        return self._choose(self._workers).edge.services

    async def step(self) -> None:
        """Let some things happen at once, after the grace of what was left by those before, or within it."""
        repository, wanted = self._choose(REPOSITORIES), self._choose(PUSHABLE)
        if self._chance.random() < 0.6:
            await self._delete_manifests(self._choose(REPOSITORIES), PUSHABLE)
        self._clock.advance(self._choose([1.0, 700.0, 2 * GRACE_SECONDS, 2 * GRACE_SECONDS]))
        actions: list[Callable[[LocalRepository, Image], Awaitable[None]]] = [
            self.push, self.push, self.push, self.push_in_a_hurry, self.delete_blobs, self.delete, self.mount,
            self.collect, self.collect, self.evict, self.fill,
        ]  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for action in self._chance.choices(actions, k=6):
                group.create_task(self._begin(action(repository, wanted)))

    async def _begin(self, action: Awaitable[None]) -> None:
        for _ in range(self._chance.randrange(20)):
            await asyncio.sleep(0)
        await action

    async def push(self, repository: LocalRepository, wanted: Image) -> None:
        """Send what is lacking, as clients do: what is found is not sent."""
        for each in wanted.blobs():
            try:
                await self._services().local.find_size(repository, parse_digest(each.digest), None)
            except BlobUnknown:
                await self._upload(repository, each)
        await self._push_manifests(repository, wanted)

    async def push_in_a_hurry(self, repository: LocalRepository, wanted: Image) -> None:
        """Send manifests only, in the hope that all else is here."""
        await self._push_manifests(repository, wanted)

    async def _upload(self, repository: LocalRepository, wanted: Content) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield wanted.body

        body = Body(pieces=pieces(), size=wanted.size)
        await self._services().uploads.push_whole(repository, parse_digest(wanted.digest), body)

    async def _push_manifests(self, repository: LocalRepository, wanted: Image) -> None:
        for manifest in wanted.manifests():
            request = PushRequest(
                reference=parse_digest(manifest.digest),
                body=manifest.body,
                content_type=manifest.media_type,
                tags=[self._choose(TAGS)],
            )
            try:
                await self._services().manifest_pusher.push(repository, request, CALLER)
                self.done["pushed"] += 1
            except ManifestBlobUnknown:  # somebody has deleted a part in the meantime
                self.done["refused"] += 1

    async def delete(self, repository: LocalRepository, wanted: Image) -> None:
        await self._delete_manifests(repository, [wanted])

    async def _delete_manifests(self, repository: LocalRepository, images: Sequence[Image]) -> None:
        for image in reversed(images):
            for manifest in reversed(list(image.manifests())):
                await self._count(
                    "manifest", self._services().remover.remove_manifest(repository, parse_digest(manifest.digest))
                )

    async def delete_blobs(self, repository: LocalRepository, wanted: Image) -> None:
        for each in wanted.blobs():
            await self._count("blob", self._services().remover.remove_blob(repository, parse_digest(each.digest)))

    async def _count(self, what: str, deletion: Awaitable[None]) -> None:
        try:
            await deletion
            self.done[f"{what} deleted"] += 1
        except Unsupported:
            self.done[f"{what} needed"] += 1
        except (ManifestUnknown, BlobUnknown):
            pass

    async def mount(self, repository: LocalRepository, wanted: Image) -> None:
        for each in wanted.blobs():
            source = self._choose([None, APP, OTHER, f"docker.io/{HUB}"])
            mounter = self._services().mounts
            self.done["mounted"] += await mounter.mount(repository, parse_digest(each.digest), source, CALLER)

    async def fill(self, _: LocalRepository, wanted: Image) -> None:
        for each in wanted.blobs():
            assert (await self._choose(self._workers).get_blob(HUB, each.digest)).body == each.body

    async def collect(self, _: LocalRepository, __: Image) -> None:
        await self._choose(self._workers).collect()

    async def evict(self, _: LocalRepository, __: Image) -> None:
        await self._choose(self._workers).parts.fill_services.room.free_disk(2**62)

    async def check(self) -> None:
        """Each manifest that a repository has is there with all that it needs; each row has its file."""
        services = self._services()
        for repository in REPOSITORIES:
            for image in PUSHABLE:
                try:
                    await services.local.pull_manifest(repository, parse_digest(image.digest), with_body=False)
                except ManifestUnknown:
                    continue
                for each in image.blobs():
                    assert await services.local.find_size(repository, parse_digest(each.digest), None) == each.size
                for manifest in image.manifests():
                    wanted = parse_digest(manifest.digest)
                    pulled = await services.local.pull_manifest(repository, wanted, with_body=True)
                    assert pulled.body == manifest.body
        for digest, is_leaving in await self.rows():
            assert is_leaving or self._workers[0].holds(digest)
        self.check_files()

    async def rows(self) -> list[tuple[str, int]]:
        return await self._workers[0].parts.database.fetch("SELECT digest, is_leaving FROM blobs")

    def check_files(self) -> set[Digest]:
        files = [path for path in self._workers[0].parts.layout.blobs.rglob("*") if path.is_file()]
        for path in files:
            assert digest_of(path.read_bytes()).encoded == path.name
        return {parse_digest(f"sha256:{path.name}") for path in files}

    async def delete_all(self) -> None:
        for repository in REPOSITORIES:
            await self._delete_manifests(repository, PUSHABLE)
        self._clock.advance(25 * GRACE_SECONDS)
        await self._workers[1].collect()


@pytest.mark.parametrize("seed", range(4))
async def test_in_any_order_no_image_is_incomplete_and_in_the_end_nothing_is_left(
    start: Callable[..., Awaitable[Cache]], upstream: FakeRegistry, clock: FakeClock, seed: int
) -> None:
    for layer in [*LAYERS, CONFIG]:
        upstream.add_blob(HUB, layer)
    workers = [await start(min_free=0), await start(min_free=0)]
    world = World(workers, clock, random.Random(seed))
    for _ in range(60):
        await world.step()
        await world.check()

    await world.delete_all()

    database = workers[0].parts.database
    assert await workers[0].parts.tables.usage.owned_bytes() == 0
    assert await database.fetch("SELECT 1 FROM local_links UNION SELECT 1 FROM local_manifests") == []
    assert await database.fetch("SELECT 1 FROM tags") == []
    assert world.check_files() == {parse_digest(digest) for digest, _ in await world.rows()}
    assert world.check_files() <= {parse_digest(each.digest) for each in [*LAYERS, CONFIG]}
    assert list(workers[0].parts.layout.uploads.iterdir()) == []
    assert world.done["pushed"] > 20
    assert set(world.done) == {
        "pushed", "refused", "mounted", "manifest deleted", "manifest needed", "blob deleted", "blob needed",
    }  # fmt: skip
