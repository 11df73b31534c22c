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
from proxycache.store.local_content import LocalContent
from proxycache.store.local_push import ManifestPush
from proxycache.store.manifests import ManifestRow

APP, OTHER = "local/app", "local/other"
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

    assert (told["cached_bytes"], told["owned_bytes"]) == (2 * 8192, 0)
    assert told["repositories"] == [
        {"name": ALPINE, "is_local": False, "blobs": 2, "size": 16384, "shared_bytes": 8192, "tags": 0},
        {"name": BUSYBOX, "is_local": False, "blobs": 1, "size": 8192, "shared_bytes": 8192, "tags": 0},
    ]
    assert told["upstreams"] == [{"name": "docker.io", "blobs": 2, "size": 16384, "shared_bytes": 0}]
    assert [blob["digest"] for blob in told["next"]] == [str(digest_of(b"own")), str(digest_of(b"shared"))]


def test_an_upstream_counts_each_of_its_blobs_once_and_tells_what_others_have_too(pushed: Path) -> None:
    async def pull() -> None:
        database = await Database.open(Layout(pushed).database)
        for name, content in (("docker.io0/app", b"other"), ("ghcr.io/org/app", b"own"), ("ghcr.io/org/app", b"one")):
            blob = BlobRow(digest=digest_of(content), size=8192, is_public=True, stored_at=1.0)
            await Links(database).record(blob, repository=name)
        await database.close()

    asyncio.run(pull())

    assert json.loads(run(pushed, "usage", "--json").stdout)["upstreams"] == [
        {"name": "docker.io", "blobs": 2, "size": 16384, "shared_bytes": 16384},
        {"name": "docker.io0", "blobs": 1, "size": 8192, "shared_bytes": 0},
        {"name": "ghcr.io", "blobs": 2, "size": 16384, "shared_bytes": 8192},
    ]
    lines = run(pushed, "usage").stdout.splitlines()
    assert "docker.io: 2 blobs, 16 KiB, 16 KiB of them shared with others" in lines
    assert lines[lines.index("docker.io0: 1 blobs, 8 KiB") + 1] == "  docker.io0/app: 0 tags, 1 blobs, 8 KiB"


def test_what_is_pinned_is_not_next_to_go(directory: Path) -> None:
    run(directory, "pin", "busybox")

    told = json.loads(run(directory, "usage", "--json").stdout)

    assert [blob["digest"] for blob in told["next"]] == [str(digest_of(b"own"))]


def test_usage_is_readable(directory: Path) -> None:
    run(directory, "pin", "alpine:3.20")

    lines = run(directory, "usage").stdout.splitlines()

    assert lines[:2] == ["cached blobs take 16 KiB of 50 GiB", "owned blobs take 0 B, which do not count there"]
    assert f"  {ALPINE}: 0 tags, 2 blobs, 16 KiB, 8 KiB of them shared" in lines
    assert f"  {ALPINE}:3.20" in lines


@pytest.fixture
def pushed(directory: Path) -> Path:
    """What two local repositories have: a manifest with two tags, a layer of both, and one that is cached as well."""

    async def push() -> None:
        database = await Database.open(Layout(directory).database)
        local = LocalContent(database)
        for name, content, size in ((APP, b"layer", 5000), (OTHER, b"layer", 5000), (APP, b"shared", 8192)):
            await local.link_blob(name, digest_of(content), size, now=1.0)
        row = ManifestRow(digest=digest_of(b"manifest"), media_type="m", size=100)
        await local.record_manifest(
            ManifestPush(repository=APP, row=row, references=[], needed=[], tags=["1", "latest"], pushed_at=1.0)
        )
        await database.close()

    asyncio.run(push())
    return directory


def test_what_was_pushed_counts_beside_what_is_cached(pushed: Path) -> None:
    told = json.loads(run(pushed, "usage", "--json").stdout)

    assert told["cached_bytes"] == 8192
    assert told["owned_bytes"] == 8192 + 8192 + 4096
    assert [each for each in told["repositories"] if each["is_local"]] == [
        {"name": APP, "is_local": True, "blobs": 3, "size": 13292, "shared_bytes": 13192, "tags": 2},
        {"name": OTHER, "is_local": True, "blobs": 1, "size": 5000, "shared_bytes": 5000, "tags": 0},
    ]
    assert {each["shared_bytes"] for each in told["repositories"] if each["name"] == BUSYBOX} == {8192}
    assert [each["digest"] for each in told["next"]] == [str(digest_of(b"own"))]


def test_what_was_pushed_comes_first(pushed: Path) -> None:
    lines = run(pushed, "usage").stdout.splitlines()

    assert lines[:6] == [
        "cached blobs take 8 KiB of 50 GiB",
        "owned blobs take 20 KiB, which do not count there",
        "",
        "pushed here",
        f"  {APP}: 2 tags, 3 blobs, 12.98 KiB, 12.88 KiB of them shared",
        f"  {OTHER}: 0 tags, 1 blobs, 4.883 KiB, 4.883 KiB of them shared",
    ]
    assert "docker.io: 2 blobs, 16 KiB, 8 KiB of them shared with others" in lines


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
