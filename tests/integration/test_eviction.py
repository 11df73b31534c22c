"""What keeps the bounds true in the long run: room ahead of need, strays, and any order of what may happen."""

import asyncio
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxycache.events import BlobsEvicted
from proxycache.maintenance.evict import evict_ahead
from proxycache.maintenance.find_strays import find_strays
from proxycache.oci.digest import digest_of, parse_digest
from proxycache.store.purge import Wanted
from proxycache.store.removal import remove_files
from tests.builders import image
from tests.disk import taken
from tests.integration.harness import Cache
from tests.integration.pushing import APP, push_image

NAME = "library/alpine"
CANONICAL = f"docker.io/{NAME}"
MIB = 1024 * 1024
BUDGET = 24 * MIB


async def look_for_strays(cache: Cache) -> None:
    parts = cache.parts
    await find_strays(parts.fill_services.blobs, parts.tables.usage, parts.leases, parts.clock)


def rows(directory: Path) -> dict[str, int]:
    with closing(sqlite3.connect(directory / "proxycache.db")) as database:
        return dict(database.execute("SELECT digest, size FROM blobs WHERE is_leaving = 0"))


def files(directory: Path) -> dict[str, int]:
    found = (path for path in (directory / "blobs").rglob("*") if path.is_file())
    return {f"{path.parent.parent.name}:{path.name}": path.stat().st_size for path in found}


async def test_some_room_is_made_ahead_of_need(start, upstream):
    cache = await start(max_size=BUDGET, min_free=0)
    for number in range(4):
        content = upstream.add_blob(NAME, 4_700_000 - number)
        assert (await cache.get_blob(NAME, content.digest)).is_complete
    await cache.wait_for_fills(4)
    room = cache.parts.fill_services.room
    before = await cache.parts.tables.usage.cached_bytes()

    await room.work_ahead()
    await room.work_ahead()

    assert await cache.parts.tables.usage.cached_bytes() < before
    assert [event.count for event in cache.events if isinstance(event, BlobsEvicted)] == [1]


async def test_what_can_be_evicted_stays_if_that_is_not_enough(start, upstream):
    cache = await start(max_size=BUDGET, min_free=0)
    pinned = upstream.add_image(NAME, image(layers=1, layer_size=10 * MIB), tag="1")
    small = [upstream.add_blob(NAME, MIB - number) for number in range(5)]
    await cache.get_manifest(NAME, "1")
    for content in [*pinned.blobs(), *small]:
        assert (await cache.get_blob(NAME, content.digest)).is_complete
    await cache.wait_for_fills(7)
    await cache.parts.tables.pins.add(CANONICAL, "1", now=1.0)
    too_large, fitting = upstream.add_blob(NAME, 12 * MIB), upstream.add_blob(NAME, 5 * MIB)

    assert (await cache.get_blob(NAME, too_large.digest)).body == too_large.body

    assert (await cache.wait_for_fills(8))[-1] == "passed_through"
    assert all(cache.holds(content.digest) for content in [*pinned.blobs(), *small])
    assert (await cache.get_blob(NAME, fitting.digest)).body == fitting.body
    assert (await cache.wait_for_fills(9))[-1] == "published"
    assert not all(cache.holds(content.digest) for content in small)
    assert all(cache.holds(content.digest) for content in pinned.blobs())


async def test_where_others_fill_the_disk_fills_evict_nothing_and_the_bound_is_kept_behind_them(start, upstream):
    roomy = await start(max_size=0, min_free=0)
    held = [upstream.add_blob(NAME, MIB - number) for number in range(3)]
    for content in held:
        await roomy.get_blob(NAME, content.digest)
    await roomy.wait_for_fills(3)
    full = await start(max_size=0, min_free=2**60)
    wanted = upstream.add_blob(NAME, 2 * MIB)

    assert (await full.get_blob(NAME, wanted.digest)).body == wanted.body

    assert all(full.holds(content.digest) for content in held)
    await full.parts.fill_services.room.work_ahead()
    assert not any(full.holds(content.digest) for content in held)


async def test_uses_are_written_down_when_the_worker_ends(start, upstream):
    cache = await start()
    content = upstream.add_blob(NAME, 1000)
    await cache.get_blob(NAME, content.digest)
    await cache.wait_for_fills()
    for _ in range(3):  # the later ones from the memory of answers
        await cache.get_blob(NAME, content.digest)
    looking = asyncio.get_running_loop().create_task(evict_ahead(cache.parts.fill_services.room, cache.parts.uses))
    await asyncio.sleep(0)

    looking.cancel()
    await asyncio.wait([looking])

    (used,) = await cache.parts.tables.usage.list_next(5)
    assert (used.digest, used.uses) == (content.digest, 2)


async def test_blobs_whose_rows_are_lost_count_again_and_make_room(start, upstream, tmp_path):
    cache = await start(max_size=BUDGET, min_free=0)
    contents = [upstream.add_blob(NAME, 4 * MIB - number) for number in range(4)]
    for content in contents:
        await cache.get_blob(NAME, content.digest)
    await cache.wait_for_fills(4)
    await cache.stop()
    for path in (tmp_path / "data").glob("proxycache.db*"):
        path.unlink()

    again = await start(max_size=BUDGET, min_free=0)
    await look_for_strays(again)

    assert rows(tmp_path / "data") == {content.digest: content.size for content in contents}
    for number in range(4, 10):
        content = upstream.add_blob(NAME, 4 * MIB - number)
        assert (await again.get_blob(NAME, content.digest)).body == content.body
        assert taken(tmp_path / "data") <= BUDGET


async def test_what_a_killed_worker_had_promised_is_free_at_once(start, upstream):
    cache = await start(max_size=BUDGET, min_free=0)
    wanted, promised = upstream.add_blob(NAME, 12 * MIB), cache.parts.layout.reservation(digest_of(b"never came"))
    promised.touch()
    os.truncate(promised, 12 * MIB)

    assert (await cache.get_blob(NAME, wanted.digest)).body == wanted.body

    assert await cache.wait_for_fills() == ["published"]
    assert not promised.exists()


async def test_a_stray_is_nobodys(start, upstream):
    cache = await start()
    content = upstream.add_blob(NAME, 1000)
    await cache.get_blob(NAME, content.digest)
    await cache.wait_for_fills()
    async with cache.parts.database.transaction() as connection:
        await connection.execute("DELETE FROM blobs")
        await connection.execute("DELETE FROM links")

    await look_for_strays(cache)

    row = await cache.parts.tables.links.find(parse_digest(content.digest))
    assert row is not None
    assert not row.is_public
    assert await cache.parts.tables.usage.list_repositories() == []


class Story:
    """A cache to which anything happens, in an order that the seed decides."""

    def __init__(self, start, upstream, seed: int) -> None:
        self._start = start
        self._chance = random.Random(seed)
        self._pinned: dict[str, set[str]] = {}
        self._pushed: set[str] = set()
        self._images = {str(number): self._make_image(upstream, str(number)) for number in range(10)}

    def _make_image(self, upstream, tag):
        made = image(layers=2, layer_size=self._chance.randrange(1, 4) * MIB, seed=f"{self._chance.random()} {tag}")
        return upstream.add_image(NAME, made, tag=tag)

    async def begin(self) -> None:
        self.cache = await self._start(max_size=BUDGET, min_free=0)
        await look_for_strays(self.cache)

    async def happen(self) -> None:
        events = [self.pull, self.push, self.pin, self.unpin, self.purge, self.restart]
        await self._chance.choices(events, weights=[12, 2, 2, 1, 2, 1])[0]()

    def check(self) -> None:
        owned = {
            content for tag in self._pushed for content in [*self._images[tag].blobs(), self._images[tag].manifest]
        }
        for digests in [*self._pinned.values(), {content.digest for content in owned}]:
            assert all(map(self.cache.holds, digests))
        blocks = sum(-(-content.size // 4096) for content in owned)
        assert taken(self.cache.parts.layout.directory) <= BUDGET + blocks * 4096

    async def check_owned(self) -> None:
        for tag in self._pushed:
            pushed = self._images[tag]
            assert (await self.cache.get_manifest(APP, tag)).body == pushed.body
            for blob in pushed.blobs():
                assert (await self.cache.get_blob(APP, blob.digest)).body == blob.body

    async def pull(self) -> None:
        wanted = self._images[self._choose_tag()]
        assert (await self.cache.get_manifest(NAME, wanted.digest)).body == wanted.body
        for layer in wanted.blobs():
            assert (await self.cache.get_blob(NAME, layer.digest)).body == layer.body

    async def push(self) -> None:
        """Push what may be cached, or pinned, or just on its way out."""
        tag = self._choose_tag()
        await push_image(self.cache, self._images[tag], tag)
        self._pushed.add(tag)

    async def pin(self) -> None:
        tag = self._choose_tag()
        await self.cache.get_manifest(NAME, tag)
        if len(self._pinned) < 2:
            await self.cache.parts.tables.pins.add(CANONICAL, tag, now=1.0)
            self._pinned[tag] = {blob.digest for blob in self._images[tag].blobs() if self.cache.holds(blob.digest)}

    async def unpin(self) -> None:
        if self._pinned:
            await self.cache.parts.tables.pins.remove(CANONICAL, self._pinned.popitem()[0])

    async def purge(self) -> None:
        parts, tag = self.cache.parts, self._choose_tag()
        purged = await parts.tables.purge.forget(
            Wanted(names=[CANONICAL], is_tag=lambda each: each == tag, spares_pinned=True), is_dry=False
        )
        blobs, usage = parts.fill_services.blobs, parts.tables.usage
        removed = await remove_files(blobs, usage, purged.leaving)
        if self._chance.random() < 0.7:  # else somebody was killed in the middle
            await usage.forget(removed.gone, blobs.has)

    async def restart(self) -> None:
        await self.cache.stop()
        await self.begin()

    def _choose_tag(self) -> str:
        return self._chance.choice(list(self._images))


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_events_keeps_the_bounds_and_what_is_pinned_or_owned(start, upstream, tmp_path, seed):
    story = Story(start, upstream, seed)
    await story.begin()

    for _ in range(40):
        await story.happen()
        story.check()

    await story.check_owned()
    await story.cache.stop()
    assert rows(tmp_path / "data").items() <= files(tmp_path / "data").items()
