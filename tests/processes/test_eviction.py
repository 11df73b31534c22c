"""Workers and whole trees that are killed while they evict: the bounds hold, and no row counts that has no bytes."""

import contextlib
import http.client
import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.builders import blob
from tests.disk import taken
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, Answer, RunningCache, blob_path

MIB = 1024 * 1024
BUDGET = 24 * MIB


@pytest.fixture
def cache(tmp_path: Path, upstream: ThreadedRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningCache]:
    """A cache with a small budget."""
    monkeypatch.setenv("PROXYCACHE_STORAGE__MAX_SIZE", str(BUDGET))
    monkeypatch.setenv("PROXYCACHE_STORAGE__MIN_FREE", "0")
    with RunningCache(tmp_path, upstream.url) as running:
        yield running


def rows(cache: RunningCache) -> list[str]:
    with contextlib.closing(sqlite3.connect(cache.layout.database)) as database:
        return [digest for (digest,) in database.execute("SELECT digest FROM blobs WHERE is_leaving = 0")]


@pytest.mark.parametrize("seed", range(4))
def test_whoever_is_killed_the_bounds_hold_and_rows_have_bytes(
    cache: RunningCache, upstream: ThreadedRegistry, seed: int
) -> None:
    chance = random.Random(seed)
    contents = [upstream.add_blob(NAME, blob(MIB + number, seed=f"{seed} {number}")) for number in range(60)]

    def pull(number: int) -> None:
        """Pull; every tenth client sees to it that a worker is killed before it has its answer."""
        client = http.client.HTTPConnection("127.0.0.1", cache.port, timeout=20)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(client):
            client.request("GET", blob_path(contents[number].digest))
            if number % 10 == 5:
                os.kill(chance.choice(cache.workers()), signal.SIGKILL)
            client.getresponse().read()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pull, range(40)))
    cache.kill_all()
    assert taken(cache.layout.directory) <= BUDGET
    assert all(cache.has_blob(digest) for digest in rows(cache))

    cache.start()
    for content in contents[40:]:
        answer = cache.get(blob_path(content.digest))
        assert is_right(answer, content.body)
    assert taken(cache.layout.directory) <= BUDGET
    cache.check_blobs()


def is_right(answer: Answer, body: bytes) -> bool:
    return (answer.status, answer.is_complete) == (200, True) and answer.body == body
