import asyncio
import fcntl
import os
import stat
from pathlib import Path

import pytest

from proxycache.oci.digest import Digest, digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import BlobCorrupt, StoreUnusable
from proxycache.store.layout import Layout

CONTENT = b"layer"
DIGEST = digest_of(CONTENT)


async def always(_digest: Digest) -> bool:
    return True


def read(blobs: BlobStore, digest: Digest) -> bytes:
    held = blobs.open(digest)
    assert held is not None
    with held:
        return held.file.read()


def spool(layout: Layout, content: bytes = CONTENT) -> Path:
    path = layout.spool_data(DIGEST)
    path.write_bytes(content)
    return path


def test_published_spool_is_a_read_only_blob(blobs: BlobStore, layout: Layout) -> None:
    source = spool(layout)

    blobs.publish(DIGEST, source)

    assert read(blobs, DIGEST) == CONTENT
    assert stat.S_IMODE(layout.blob(DIGEST).stat().st_mode) == 0o444
    assert not source.exists()


def test_publishing_again_keeps_the_first(blobs: BlobStore, layout: Layout) -> None:
    blobs.publish(DIGEST, spool(layout))
    first = layout.blob(DIGEST).stat().st_ino

    blobs.publish(DIGEST, spool(layout))

    assert layout.blob(DIGEST).stat().st_ino == first
    assert not layout.spool_data(DIGEST).exists()


def test_publishing_while_the_first_is_removed_stays_published(blobs: BlobStore, layout: Layout) -> None:
    blobs.publish(DIGEST, spool(layout))

    with layout.blob(DIGEST).open("rb") as being_removed:
        fcntl.flock(being_removed, fcntl.LOCK_EX)
        blobs.publish(DIGEST, spool(layout))

    assert read(blobs, DIGEST) == CONTENT


def test_publishing_what_is_not_there_says_so(blobs: BlobStore, layout: Layout) -> None:
    with pytest.raises(StoreUnusable, match="No such file"):
        blobs.publish(DIGEST, layout.spools / "missing")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_put_content_can_be_read(blobs: BlobStore, layout: Layout, algorithm: str) -> None:
    digest = digest_of(CONTENT, algorithm)

    await blobs.put(digest, CONTENT)
    await blobs.put(digest, CONTENT)

    assert read(blobs, digest) == CONTENT
    assert list(layout.spools.iterdir()) == []


async def test_put_refuses_what_the_digest_does_not_name(blobs: BlobStore, layout: Layout) -> None:
    with pytest.raises(BlobCorrupt):
        await blobs.put(DIGEST, b"something else")

    assert not blobs.has(DIGEST)
    assert list(layout.spools.iterdir()) == []


async def test_many_put_the_same_at_once(blobs: BlobStore) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(blobs.put(DIGEST, CONTENT))

    assert read(blobs, DIGEST) == CONTENT


def test_missing_blob_is_none(blobs: BlobStore) -> None:
    assert blobs.open(DIGEST) is None
    assert blobs.size(DIGEST) is None
    assert not blobs.has(DIGEST)


async def test_size_is_that_of_the_content(blobs: BlobStore) -> None:
    await blobs.put(DIGEST, CONTENT)

    held = blobs.open(DIGEST)

    assert held is not None
    with held:
        assert held.size == blobs.size(DIGEST) == len(CONTENT)


async def test_open_blob_is_not_removed(blobs: BlobStore) -> None:
    await blobs.put(DIGEST, CONTENT)
    held = blobs.open(DIGEST)
    assert held is not None

    with held:
        assert not await blobs.remove(DIGEST, always)
        assert held.file.read() == CONTENT

    assert await blobs.remove(DIGEST, always)
    assert blobs.open(DIGEST) is None


async def test_blob_that_is_being_removed_is_a_miss(blobs: BlobStore, layout: Layout) -> None:
    await blobs.put(DIGEST, CONTENT)

    with layout.blob(DIGEST).open("rb") as being_removed:
        fcntl.flock(being_removed, fcntl.LOCK_EX)
        assert blobs.open(DIGEST) is None
        assert not await blobs.remove(DIGEST, always)

    assert read(blobs, DIGEST) == CONTENT


async def test_removing_what_is_not_there_is_done(blobs: BlobStore) -> None:
    assert await blobs.remove(DIGEST, always)


@pytest.mark.parametrize("is_here", [True, False])
async def test_nobody_pushes_a_blob_while_it_is_removed(blobs: BlobStore, layout: Layout, is_here: bool) -> None:
    if is_here:
        blobs.publish(DIGEST, spool(layout))

    async def is_leaving(digest: Digest) -> bool:
        folder = os.open(layout.blob(digest).parent, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(folder)
        return True

    assert await blobs.remove(DIGEST, is_leaving)


async def test_iteration_finds_blobs_and_nothing_else(blobs: BlobStore, layout: Layout) -> None:
    contents = {digest_of(b"%d" % number): b"%d" % number for number in range(20)}
    contents[digest_of(CONTENT, "sha512")] = CONTENT
    for digest, content in contents.items():
        await blobs.put(digest, content)
    (layout.blobs / "sha256" / "lost+found").mkdir()
    (layout.blobs / "sha512" / "README").touch()
    (layout.blob(digest_of(CONTENT, "sha512")).parent / "README").touch()

    assert {digest async for digest in blobs.iterate()} == set(contents)


async def test_refusal_of_the_system_names_the_file(blobs: BlobStore, layout: Layout) -> None:
    (layout.blobs / "sha256").touch()

    with pytest.raises(StoreUnusable, match=DIGEST.encoded):
        blobs.open(DIGEST)
    with pytest.raises(StoreUnusable, match="Not a directory"):
        blobs.has(DIGEST)
    with pytest.raises(StoreUnusable, match="Not a directory"):
        await blobs.put(DIGEST, CONTENT)
    assert list(layout.spools.iterdir()) == []
