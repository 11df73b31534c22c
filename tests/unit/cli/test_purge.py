"""`purge` on a store, from outside of the cache's processes."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxycache.cli.main import app
from proxycache.clock import SystemClock
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.links import BlobRow
from proxycache.store.manifests import ManifestRow
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow

ALPINE, PYTHON, APP = "docker.io/library/alpine", "docker.io/library/python", "ghcr.io/org/app"
SIZE = 10
DAY_SECONDS = 86_400.0


def content_of(name: str, tag: str) -> bytes:
    return f"{name}:{tag}".encode()[-SIZE:].rjust(SIZE)


def digest_of_tag(name: str, tag: str) -> Digest:
    return digest_of(content_of(name, tag))


def purge(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["purge", *words, "--directory", str(directory)])


def on_tables(directory: Path, work: Callable[[Tables], Awaitable[None]]) -> None:
    async def run() -> None:
        database = await Database.open(Layout(directory).database)
        await work(Tables.of(database))
        await database.close()

    asyncio.run(run())


def held(directory: Path) -> set[str]:
    """Return the tags that are known; the manifests of them, and no others, have files."""
    tags: set[str] = set()

    async def list_all(tables: Tables) -> None:
        for name in await tables.repositories.list_names():
            tags.update(f"{name}:{tag}" for tag in await tables.tags.list_tags(name))

    on_tables(directory, list_all)
    files = {path.name for path in Layout(directory).blobs.rglob("*") if path.is_file()}
    assert files == {digest_of_tag(*tag.rsplit(":", 1)).encoded for tag in tags}
    return tags


ALL = {f"{ALPINE}:3", f"{ALPINE}:4", f"{PYTHON}:3.11", f"{PYTHON}:3.12", f"{APP}:1"}
OLD = {f"{ALPINE}:3", f"{PYTHON}:3.11"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    now = SystemClock().now()

    async def fill(tables: Tables) -> None:
        for name, tag in (tag.rsplit(":", 1) for tag in sorted(ALL)):
            manifest = digest_of_tag(name, tag)
            used_at = now - 40 * DAY_SECONDS if f"{name}:{tag}" in OLD else now
            await BlobStore(layout).put(manifest, content_of(name, tag))
            blob = BlobRow(digest=manifest, size=SIZE, is_public=True, stored_at=used_at)
            row = ManifestRow(digest=manifest, media_type="m", size=SIZE)
            await tables.manifests.record(row, [], blob, repository=name)
            await tables.tags.record(
                TagRow(repository=name, tag=tag, digest=manifest, media_type="m", size=SIZE, checked_at=now)
            )

    on_tables(layout.directory, fill)
    return layout.directory


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["alpine"], {f"{ALPINE}:3", f"{ALPINE}:4"}),
        (["alpine:3"], {f"{ALPINE}:3"}),
        ([f"alpine@{digest_of_tag(ALPINE, '3')}"], {f"{ALPINE}:3"}),
        (["library/*"], ALL - {f"{APP}:1"}),
        (["library/*:3*"], OLD | {f"{PYTHON}:3.12"}),
        (["docker.io/library/python:3.1?"], {f"{PYTHON}:3.11", f"{PYTHON}:3.12"}),
        (["*.io/**"], ALL),
        (["*.io/**", "--older-than", "30d"], OLD),
        (["alpine", "--older-than", "30d"], {f"{ALPINE}:3"}),
        (["alpine:*", "--older-than", "30d"], {f"{ALPINE}:3"}),
        (["alpine:4", "--older-than", "30d"], set()),
        ([f"alpine@{digest_of_tag(ALPINE, '4')}", "--older-than", "30d"], set()),
        (["alpine", "--older-than", "50d"], set()),
    ],
)
def test_a_purge_drops_what_it_names(directory: Path, words: list[str], gone: set[str]) -> None:
    would = purge(directory, *words, "--dry-run")
    assert held(directory) == ALL

    done = purge(directory, *words)

    assert (would.exit_code, done.exit_code) == (0, 0)
    summary = f"purge {len(gone)} blobs, {SIZE * len(gone)} bytes"
    assert would.stdout.splitlines()[0] == f"would {summary}"
    assert done.stdout == f"{summary.replace('purge', 'purged')}\n"
    assert held(directory) == ALL - gone


def test_a_dry_run_tells_what_would_go(directory: Path) -> None:
    tags = purge(directory, "library/*:3*", "--dry-run")
    repositories = purge(directory, "library/*", "--dry-run")

    assert tags.stdout.splitlines()[1:] == [f"  {ALPINE}:3", f"  {PYTHON}:3.11", f"  {PYTHON}:3.12"]
    assert repositories.stdout.splitlines()[1:] == [f"  {ALPINE}", f"  {PYTHON}"]


@pytest.mark.parametrize(
    ("what", "meant"),
    [
        ("perl", "docker.io/library/perl"),
        ("alpine:5", f"{ALPINE}:5"),
        ("org/*", "docker.io/org/*"),
        ("library/*:5*", "docker.io/library/*:5*"),
        (f"alpine@{digest_of(b'x')}", f"{ALPINE}@{digest_of(b'x')}"),
    ],
)
def test_nothing_to_purge_is_exit_code_1(directory: Path, what: str, meant: str) -> None:
    result = purge(directory, what)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"nothing was purged: nothing of {meant} is here\n"


def test_nothing_goes_of_what_is_named_and_pinned(directory: Path) -> None:
    CliRunner().invoke(app, ["pin", "alpine:3", "--directory", str(directory)])

    for what in ("alpine", "alpine:3", f"alpine@{digest_of_tag(ALPINE, '3')}"):
        result = purge(directory, what)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("nothing was purged: 1 blobs are pinned")

    assert held(directory) == ALL


def test_a_pattern_leaves_out_what_is_pinned(directory: Path) -> None:
    CliRunner().invoke(app, ["pin", "alpine:3", "--directory", str(directory)])

    result = purge(directory, "*.io/**", "--older-than", "30d")

    assert (result.exit_code, result.stderr) == (0, "1 blobs stay: they are pinned\n")
    assert held(directory) == ALL - OLD | {f"{ALPINE}:3"}


def test_what_is_being_read_stays(directory: Path) -> None:
    reader = BlobStore(Layout(directory)).open(digest_of_tag(ALPINE, "3"))
    assert reader is not None

    with reader:
        result = purge(directory, "alpine")

    assert (result.exit_code, result.stdout) == (1, "purged 1 blobs, 10 bytes\n")
    assert result.stderr == "1 blobs stay: they are being read; ask again later\n"


def test_what_has_come_to_be_needed_while_another_purge_ran_stays(directory: Path) -> None:
    wanted = digest_of_tag(ALPINE, "3")
    with BlobStore(Layout(directory)).open(wanted) or contextlib.nullcontext():
        purge(directory, "alpine:3")
    with contextlib.closing(sqlite3.connect(Layout(directory).database)) as database:
        pulled = f"INSERT INTO tags VALUES ('{PYTHON}', '1', '{wanted}', 'm', {SIZE}, 1.0)"
        database.execute(f"CREATE TRIGGER pulled AFTER DELETE ON tags BEGIN {pulled}; END")

    result = purge(directory, "alpine:4")

    assert (result.exit_code, result.output) == (0, "purged 1 blobs, 10 bytes\n")
    assert BlobStore(Layout(directory)).has(wanted)


@pytest.mark.parametrize("what", ["alpine", "alpine:3", f"alpine@{digest_of_tag(ALPINE, '3')}"])
def test_what_was_being_read_goes_when_it_is_purged_again(directory: Path, what: str) -> None:
    reader = BlobStore(Layout(directory)).open(digest_of_tag(ALPINE, "3"))
    assert reader is not None
    with reader:
        purge(directory, what)
        meanwhile = purge(directory, what)

    told = purge(directory, what, "--dry-run")
    again = purge(directory, what)

    more = "" if "@" in what else ", that had been read while they were purged"  # a digest names what it is
    assert (meanwhile.exit_code, meanwhile.stderr) == (1, "1 blobs stay: they are being read; ask again later\n")
    assert (told.exit_code, told.stdout) == (0, f"would purge 1 blobs, 10 bytes{more}\n")
    assert (again.exit_code, again.stdout) == (0, f"purged 1 blobs, 10 bytes{more}\n")
    assert f"{ALPINE}:3" not in held(directory)
    assert purge(directory, "alpine:3").exit_code == 1


def test_a_dry_run_waits_for_nobody_who_writes(directory: Path) -> None:
    with contextlib.closing(sqlite3.connect(Layout(directory).database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM tags")
        told = purge(directory, "alpine", "--dry-run")

    assert (told.exit_code, told.stdout.splitlines()[0]) == (0, "would purge 2 blobs, 20 bytes")


def test_an_age_is_a_time_as_in_the_configuration(directory: Path) -> None:
    result = purge(directory, "alpine", "--older-than", "a while")

    assert str(result.exception).startswith('command line: --older-than = "a while": not a time such as')
    assert held(directory) == ALL
