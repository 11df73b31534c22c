"""`usage`, `pin` and `unpin` on a store, from outside of the cache's processes."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxycache.cli.main import app
from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.links import BlobRow, Links

ALPINE, BUSYBOX = "docker.io/library/alpine", "docker.io/library/busybox"


def run(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--directory", str(directory)])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "data")
    layout.prepare()

    async def fill() -> None:
        database = await Database.open(layout.database)
        for worth, (name, content) in enumerate([(ALPINE, b"own"), (ALPINE, b"shared"), (BUSYBOX, b"shared")]):
            blob = BlobRow(digest=digest_of(content), size=8192, is_public=True, stored_at=1.0, worth=float(worth))
            await Links(database).record(blob, repository=name)
        await database.close()

    asyncio.run(fill())
    return layout.directory


def test_usage_tells_what_each_repository_has_and_shares(directory: Path) -> None:
    told = json.loads(run(directory, "usage", "--json").stdout)

    assert told["cached_bytes"] == 2 * 8192
    assert told["repositories"] == [
        {"name": ALPINE, "blobs": 2, "size": 16384, "shared_bytes": 8192},
        {"name": BUSYBOX, "blobs": 1, "size": 8192, "shared_bytes": 8192},
    ]
    assert [blob["digest"] for blob in told["next"]] == [str(digest_of(b"own")), str(digest_of(b"shared"))]


def test_usage_is_readable(directory: Path) -> None:
    run(directory, "pin", "alpine:3.20")

    lines = run(directory, "usage").stdout.splitlines()

    assert lines[0] == "blobs take 16 KiB of 50 GiB"
    assert f"  {ALPINE}: 2 blobs, 16 KiB, 8 KiB of them shared" in lines
    assert f"  {ALPINE}:3.20" in lines


@pytest.mark.parametrize(
    ("image", "canonical"),
    [("alpine", ALPINE), ("docker.io/library/alpine:3", f"{ALPINE}:3"), ("ghcr.io/org/app:v1", "ghcr.io/org/app:v1")],
)
def test_a_pin_is_taken_back_under_any_name_of_the_image(directory: Path, image: str, canonical: str) -> None:
    assert run(directory, "pin", image).stdout == f"pinned {canonical}\n"

    taken_back = run(directory, "unpin", canonical)

    assert (taken_back.exit_code, taken_back.stdout) == (0, f"unpinned {canonical}\n")
    assert run(directory, "unpin", canonical).exit_code == 1


def test_a_directory_without_a_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    result = run(tmp_path / "none", "usage")

    assert "no cache is there" in str(result.exception)
    assert not (tmp_path / "none").exists()


def test_purge_tells_what_it_does(directory: Path) -> None:
    would = run(directory, "purge", "alpine", "--dry-run")
    assert (would.exit_code, would.stdout) == (0, "would purge 1 blobs, 8192 bytes\n")

    assert run(directory, "purge", "alpine").stdout == "purged 1 blobs, 8192 bytes\n"

    assert json.loads(run(directory, "usage", "--json").stdout)["cached_bytes"] == 8192
