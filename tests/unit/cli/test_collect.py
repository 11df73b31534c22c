"""`collect` on a store, from outside of the cache's processes."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxycache.cli.main import app
from proxycache.clock import SystemClock
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.garbage import GRACE_SECONDS
from proxycache.store.layout import Layout
from proxycache.store.links import BlobRow
from proxycache.store.tables import Tables
from proxycache.store.uploads import Uploads

APP, OTHER, HUB = "local/app", "local/other", "docker.io/library/base"
OLD, YOUNG, SHARED, CACHED = b"old layer", b"young", b"shared", b"cached, too"


def collect(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["collect", *words, "--directory", str(directory)])


def on_tables(directory: Path, work: Callable[[Tables], Awaitable[None]]) -> None:
    async def run() -> None:
        database = await Database.open(Layout(directory).database)
        await work(Tables.of(database))
        await database.close()

    asyncio.run(run())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What was uploaded to APP two hours ago, some of which others have as well, and to OTHER just now."""
    layout = Layout(tmp_path / "data")
    layout.prepare()
    now = SystemClock().now()
    old = now - 2 * GRACE_SECONDS

    async def fill(tables: Tables) -> None:
        for content in (OLD, YOUNG, SHARED, CACHED):
            await BlobStore(layout).put(digest_of(content), content)
        row = BlobRow(digest=digest_of(CACHED), size=len(CACHED), is_public=True, stored_at=old)
        await tables.links.record(row, repository=HUB)
        for repository, content, at in (
            (APP, OLD, old), (APP, SHARED, old), (APP, CACHED, old), (OTHER, SHARED, now), (OTHER, YOUNG, now)
        ):  # fmt: skip
            await tables.local_content.link_blob(repository, digest_of(content), len(content), now=at)

    on_tables(layout.directory, fill)
    return layout.directory


def files(directory: Path) -> set[str]:
    return {path.name for path in Layout(directory).blobs.rglob("*") if path.is_file()}


def encoded(*contents: bytes) -> set[str]:
    return {digest_of(content).encoded for content in contents}


def rows(directory: Path, sql: str) -> set[str]:
    with closing(sqlite3.connect(Layout(directory).database)) as database:
        return {text for (text,) in database.execute(sql)}


def test_what_nothing_needs_goes_with_its_files(directory: Path) -> None:
    summary = f"3 links, 1 blobs, {len(OLD)} bytes"

    would = collect(directory, "--dry-run")
    assert (would.exit_code, would.stdout) == (0, f"would collect {summary}\n")
    assert files(directory) == encoded(OLD, YOUNG, SHARED, CACHED)
    done = collect(directory)

    assert (done.exit_code, done.stdout) == (0, f"collected {summary}\n")
    assert files(directory) == encoded(YOUNG, SHARED, CACHED)
    assert rows(directory, "SELECT DISTINCT repository FROM local_links") == {OTHER}
    assert rows(directory, "SELECT digest FROM blobs WHERE is_owned = 0") == {str(digest_of(CACHED))}
    assert collect(directory).stdout == "collected 0 links, 0 blobs, 0 bytes\n"


def test_what_is_being_read_stays_until_the_next_time(directory: Path) -> None:
    reader = BlobStore(Layout(directory)).open(digest_of(OLD))
    assert reader is not None

    with reader:
        kept = collect(directory)

    assert (kept.exit_code, kept.stdout) == (1, "collected 3 links, 0 blobs, 0 bytes\n")
    assert kept.stderr == "1 blobs stay: they are being read; they go the next time\n"
    assert collect(directory, "--dry-run").stdout == f"would collect 0 links, 1 blobs, {len(OLD)} bytes\n"
    assert collect(directory).stdout == f"collected 0 links, 1 blobs, {len(OLD)} bytes\n"


def test_what_an_open_upload_may_rely_on_stays(directory: Path) -> None:
    asyncio.run(Uploads(Layout(directory), SystemClock()).start(APP, "sha256"))

    assert collect(directory).stdout == "collected 0 links, 0 blobs, 0 bytes\n"
    assert files(directory) == encoded(OLD, YOUNG, SHARED, CACHED)


def test_a_directory_without_a_cache_is_refused(tmp_path: Path) -> None:
    assert "no cache is there" in str(collect(tmp_path / "none").exception)


@pytest.fixture
def leaving(directory: Path) -> Digest:
    """A blob that somebody marked and was killed before removing."""
    with closing(sqlite3.connect(Layout(directory).database)) as database, database:
        database.execute("UPDATE blobs SET is_owned = 0, is_leaving = 1 WHERE digest = ?", (str(digest_of(YOUNG)),))
        database.execute("DELETE FROM local_links WHERE digest = ?", (str(digest_of(YOUNG)),))
    return digest_of(YOUNG)


def test_what_a_killed_one_left_goes_too(directory: Path, leaving: Digest) -> None:
    assert collect(directory).stdout == f"collected 3 links, 2 blobs, {len(OLD) + len(YOUNG)} bytes\n"
    assert leaving.encoded not in files(directory)
