"""Does it take longer to evict 256 blobs of a million than of ten thousand?

The eviction of a worker itself, without HTTP and clients: room is reserved as for a fill, marks, files and rows go. All
blobs have rows and links, those that leave have files. Everything fits the page cache.
"""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import KIB, Bench, Samples
from benchmarks.downloads import WrongAnswer
from benchmarks.hold import hold
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question, at_most, compare
from proxycache.app import open_parts, widen_disk_pool
from proxycache.clock import SystemClock
from proxycache.config.model import Settings
from proxycache.events import BlobsEvicted
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.settings import StorageSettings
from proxycache.store.space import Space
from proxycache.store.tables import Tables

_BATCH = 256
_BATCHES = 4
_SIZE = 4 * KIB
_HEADROOM = 0.05
_NO_BOUND = 1 << 50


def _ask(bench: Bench) -> Iterator[Finding]:
    few, many = 10_000, 100_000 if bench.is_quick else 1_000_000
    samples = Samples(unit="ms")
    directories = {PROXYCACHE.name: bench.new_place("many"), f"of {few:,}": bench.new_place("few")}
    try:
        for count, directory in zip((many, few), directories.values(), strict=True):
            hold(directory, count, size=_SIZE, files=bench.runs * _BATCHES * _BATCH)
        for _ in range(bench.runs):
            for subject, directory in directories.items():
                with samples.noting_absence(subject):
                    samples.add(subject, asyncio.run(_evict(directory)) / _BATCHES * 1000)
    finally:
        for directory in directories.values():
            shutil.rmtree(directory, ignore_errors=True)
    yield compare(f"evict {_BATCH} blobs of {many:,}: time", samples, f"of {few:,}", at_most(1.5))


async def _evict(directory: Path) -> float:
    """Return how many seconds it takes to evict the batches."""
    widen_disk_pool()
    evicted: list[BlobsEvicted] = []
    # What is kept free ahead of need, a share of the budget, is then what the batches take.
    budget = int((await _used(directory) - _BATCHES * _BATCH * _SIZE) / (1 - _HEADROOM))
    settings = Settings(upstreams={}, storage=StorageSettings(directory=directory, max_size=budget, min_free=0))
    async with open_parts(settings, SystemClock()) as parts:
        parts.events.subscribe(lambda event: evicted.append(event) if isinstance(event, BlobsEvicted) else None)
        began = time.monotonic()
        await parts.fill_services.room.work_ahead()
        seconds = time.monotonic() - began
    if (count := sum(event.count for event in evicted)) != _BATCHES * _BATCH:
        raise WrongAnswer(f"{count} blobs were evicted instead of {_BATCHES * _BATCH}")
    return seconds


async def _used(directory: Path) -> int:
    layout = Layout(directory)
    space = Space(layout, StorageSettings(directory=directory, max_size=_NO_BOUND, min_free=-_NO_BOUND))
    database = await Database.open(layout.database)
    try:
        return _NO_BOUND - space.available(await Tables.of(database).usage.cached_bytes())
    finally:
        await database.close()


QUESTION = Question(name="eviction-cost", ask=_ask)
