"""A push over a tag, and SIGKILL in the middle: of the client, of its daemon, of a worker, of the whole cache.

Whatever dies: after a restart the tag names the old image or the new one, and all of it is there; the new one if the
client said that it had pushed it. PROXYCACHE_KILLS says how often that is tried with crane and how often with docker,
10 times if it is not set; half of docker's are with each of its image stores.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxycache.app import build_collector, open_parts
from proxycache.clock import SystemClock
from proxycache.config.model import Settings
from proxycache.maintenance.expire_uploads import AGE_SECONDS
from proxycache.oci.digest import parse_digest
from proxycache.store.layout import Layout
from proxycache.store.settings import StorageSettings
from tests.clients.dockerd import classic_dockerd, current_dockerd
from tests.clients.pulling import PulledImage, pull_image
from tests.clients.pushers import Crane, Docker, Pusher
from tests.clients.relay import Relay
from tests.processes.caches import RunningCache

KILLS = int(os.environ.get("PROXYCACHE_KILLS", "10"))
REPOSITORY = "local/app"


class Later(SystemClock):
    """The day after tomorrow: everything that ends by time has ended."""

    def now(self) -> float:
        return super().now() + 2 * AGE_SECONDS


@dataclass(kw_only=True)
class Trial:
    """A cache that is restarted after each push, and what its tag named the last time."""

    cache: RunningCache
    relay: Relay
    pusher: Pusher
    pulled: PulledImage | None = None

    @property
    def target(self) -> str:
        return f"{self.relay.address}/{REPOSITORY}:latest"

    def push(self, number: int, strike_at: int = 0, strike: Callable[[], None] | None = None) -> bool:
        """Push an image, be struck, restart, and look; tell whether the client said that it succeeded."""
        self.relay.port_behind = self.cache.port
        config = self.pusher.prepare(number, self.target)
        self.relay.count_from_now(strike_at, strike)
        is_acknowledged = self.pusher.push()
        self.cache.kill_all()
        self.relay.cut()
        self.cache.start()
        self._check(config, is_acknowledged=is_acknowledged)
        return is_acknowledged

    def kill_cache(self) -> None:
        """SIGKILL every process of the cache; the client need not find out by itself."""
        self.cache.kill_all()
        self.pusher.give_up()

    def _check(self, config: str, *, is_acknowledged: bool) -> None:
        pulled = pull_image(f"http://127.0.0.1:{self.cache.port}", REPOSITORY, "latest")
        if is_acknowledged or pulled.config == config:
            assert pulled.config == config
        else:
            assert pulled == self.pulled
        self.pulled = pulled


@pytest.fixture
def make_pusher(workplace: Path) -> Iterator[Callable[[str], Pusher]]:
    """Give a way to have a client by its name; its daemons end with the test."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Pusher:
            if name == "crane":
                return Crane(workplace)
            start = {"classic docker": classic_dockerd, "current docker": current_dockerd}[name]
            return stack.enter_context(contextlib.closing(Docker(workplace, start)))

        yield make


@pytest.mark.timeout(120 + 60 * KILLS)
@pytest.mark.parametrize(
    ("client", "kills"), [("crane", KILLS), ("classic docker", (KILLS + 1) // 2), ("current docker", (KILLS + 1) // 2)]
)
def test_a_killed_push_leaves_the_old_image_or_the_new_one(
    make_pusher, tmp_path: Path, client: str, kills: int
) -> None:
    chance, struck = random.Random(client), 0
    with RunningCache(tmp_path, "http://127.0.0.1:9") as cache, Relay() as relay:
        trial = Trial(cache=cache, relay=relay, pusher=make_pusher(client))
        strikes = {**trial.pusher.kills, "worker": lambda: _kill_worker(cache, chance), "cache": trial.kill_cache}
        assert trial.push(0)
        assert trial.push(1)  # as those to come, which also find the base layer there
        pieces = relay.passed

        for number, what in zip(range(2, kills + 2), itertools.cycle(strikes), strict=False):
            strike_at = chance.randint(1, pieces)
            sys.stdout.write(f"push {number}: {what} dies before piece {strike_at} of {pieces}\n")
            trial.push(number, strike_at, strikes[what])
            struck += relay.has_struck

        assert struck > kills / 2
        assert cache.check_blobs()
        layout = cache.layout

    asyncio.run(_clean_up(layout))
    assert [*layout.uploads.iterdir()] == []
    assert _owned(layout) == _needed(layout)


def _kill_worker(cache: RunningCache, chance: random.Random) -> None:
    os.kill(chance.choice(cache.workers()), signal.SIGKILL)


async def _clean_up(layout: Layout) -> None:
    """Do what the cache does every hour, when everything has expired."""
    settings = Settings(storage=StorageSettings(directory=layout.directory), upstreams={})
    async with open_parts(settings, Later()) as parts:
        await asyncio.to_thread(parts.uploads.expire, AGE_SECONDS)
        await build_collector(parts).collect()


def _owned(layout: Layout) -> set[str]:
    with contextlib.closing(sqlite3.connect(layout.database)) as database:
        return {digest for (digest,) in database.execute("SELECT digest FROM blobs WHERE is_owned = 1")}


def _needed(layout: Layout) -> set[str]:
    """Return what the manifests of the repository are and name."""
    with contextlib.closing(sqlite3.connect(layout.database)) as database:
        manifests = {digest for (digest,) in database.execute("SELECT digest FROM local_manifests")}
    documents = [json.loads(layout.blob(parse_digest(digest)).read_bytes()) for digest in manifests]
    named = {blob["digest"] for document in documents for blob in (document["config"], *document["layers"])}
    return manifests | named
