"""Many blobs put into a storage directory behind HTTP: filling so many through the cache would take minutes."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from benchmarks.origin import REPOSITORY
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.database import Database
from proxycache.store.layout import Layout

_INSERT_BLOB = "INSERT INTO blobs (digest, size, is_public, stored_at, rank) VALUES (?, ?, 1, 0, ?)"
_INSERT_LINK = "INSERT INTO links (repository, digest) VALUES (?, ?)"
_CACHED_KIBIBYTES = 200_000


def hold(directory: Path, count: int, *, size: int, files: int | None = None) -> list[Digest]:
    """Put `count` blobs of `size` bytes into `directory`, the first of them the first to be evicted; return these.

    The first `files` have files (None: all do). All of them are worth less than whatever the cache fills.
    """
    layout = Layout(directory)
    layout.prepare()
    asyncio.run(_make_database(layout.database))
    digests = []
    for number in range(count):
        content = f"blob {number}".encode().ljust(size)
        digests.append(digest_of(content))
        if files is None or number < files:
            file = layout.blob(digests[-1])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    _insert(layout.database, [(str(digest), size, number / count) for number, digest in enumerate(digests)])
    os.sync()  # as the cache leaves them: to remove a file that never reached the disk takes half the time
    return digests[:files]


def _insert(path: Path, rows: Iterable[tuple[str, int, float]]) -> None:
    in_order = sorted(rows)  # as the table lies on the disk: a million rows in seconds
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA cache_size = -{_CACHED_KIBIBYTES}")
        database.executemany(_INSERT_BLOB, in_order)
        database.executemany(_INSERT_LINK, ((f"docker.io/{REPOSITORY}", digest) for digest, _, _ in in_order))


async def _make_database(path: Path) -> None:
    database = await Database.open(path)
    await database.close()
