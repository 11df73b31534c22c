"""One session in one request's hands: what counts of it, whose word is believed, and how it becomes a blob."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from proxycache.oci.digest import Digest, digest_of
from proxycache.oci.errors import BlobUploadUnknown
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreUnusable
from proxycache.store.layout import Layout
from proxycache.store.leases import try_lock
from proxycache.store.upload_record import write_record
from proxycache.store.uploads import Uploads
from tests.unit.store.upload_sessions import (
    CONTENT,
    DIGEST,
    MIB,
    NAME,
    append,
    matches,
    other_worker,
    record_of,
    spoil,
)


async def test_any_worker_continues_what_another_wrote(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")

    await append(uploads, session, CONTENT[:1000])
    await append(other_worker(layout), session, CONTENT[1000:MIB])
    await append(uploads, session, CONTENT[MIB:])  # whose own hash is behind

    assert await matches(uploads, session)
    assert layout.upload_data(session).read_bytes() == CONTENT


async def test_who_wrote_last_reads_nothing_again(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT[:MIB])
    spoil(layout, session)

    await append(uploads, session, CONTENT[MIB:])

    assert await matches(uploads, session)


async def test_the_end_believes_what_was_recorded_and_reads_nothing(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT)
    spoil(layout, session)

    assert await matches(other_worker(layout), session)


async def test_after_a_power_cut_the_bytes_are_read_again(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT)
    before = replace(record_of(layout, session), boot_id="another run of the kernel")
    write_record(layout.upload_record(session), before)

    assert await matches(other_worker(layout), session)
    spoil(layout, session)
    assert not await matches(other_worker(layout), session)


async def test_bytes_that_are_missing_are_not_believed(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT)
    os.truncate(layout.upload_data(session), 5)

    assert not await matches(other_worker(layout), session)
    assert await append(other_worker(layout), session, CONTENT[5:]) == len(CONTENT)
    assert await matches(uploads, session)


async def test_another_algorithm_reads_the_bytes_once_more(uploads: Uploads) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT)

    async with uploads.hold(session, NAME) as upload:
        assert upload.matches(digest_of(CONTENT, "sha512"))
        assert not upload.matches(digest_of(b"x", "sha512"))


async def test_an_empty_session_takes_the_algorithm_that_is_asked_for(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")

    async with uploads.hold(session, NAME) as upload:
        upload.begin("sha512")
        upload.append([CONTENT])
        upload.save()

    assert record_of(layout, session).hashed == hashlib.sha512(CONTENT).hexdigest()
    async with uploads.hold(session, NAME) as upload:
        upload.begin("sha256")  # too late
        upload.append([b"x"])
        upload.save()
    assert record_of(layout, session).algorithm == "sha512"


async def test_what_was_not_recorded_is_cut_off(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")
    async with uploads.hold(session, NAME) as upload:
        upload.begin("sha256")
        upload.append([CONTENT[:1000]])
        upload.save()
        upload.append([b"lost" * 1000])

    assert (await uploads.find(session, NAME)).offset == 1000
    await append(uploads, session, CONTENT[1000:])

    assert layout.upload_data(session).read_bytes() == CONTENT
    assert await matches(uploads, session)


async def test_progress_is_recorded_every_8_mib(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")
    seen = []

    async with uploads.hold(session, NAME) as upload:
        upload.begin("sha256")
        for _ in range(20):
            upload.append([bytes(MIB)])
            seen.append(record_of(layout, session).offset // MIB)

    assert seen == [0] * 7 + [8] * 8 + [16] * 5


async def test_a_published_session_is_a_blob_and_nothing_else(
    uploads: Uploads, layout: Layout, blobs: BlobStore
) -> None:
    session = await uploads.start(NAME, "sha256")
    async with uploads.hold(session, NAME) as upload:
        upload.begin("sha256")
        upload.append([CONTENT])
        assert upload.matches(DIGEST)
        upload.publish(DIGEST, blobs)
        held = blobs.open(DIGEST)  # though the session is not closed yet
        assert held is not None
        held.close()
        upload.discard()

    assert layout.blob(DIGEST).read_bytes() == CONTENT
    assert list(layout.uploads.iterdir()) == []
    with pytest.raises(BlobUploadUnknown):
        await uploads.find(session, NAME)


async def test_only_what_counts_is_published(uploads: Uploads, layout: Layout, blobs: BlobStore) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT)
    with layout.upload_data(session).open("ab") as file:
        file.write(b"of a request that was killed")

    async with uploads.hold(session, NAME) as upload:
        assert upload.matches(DIGEST)
        upload.publish(DIGEST, blobs)

    assert layout.blob(DIGEST).read_bytes() == CONTENT


async def test_a_session_outlives_a_disk_that_refuses_to_publish(
    uploads: Uploads, layout: Layout, blobs: BlobStore
) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT)
    layout.blobs.rmdir()
    layout.blobs.write_text("in the way")

    async with uploads.hold(session, NAME) as upload:
        with pytest.raises((StoreUnusable, OSError)):
            upload.publish(DIGEST, blobs)

    assert (await uploads.find(session, NAME)).offset == len(CONTENT)
    assert await matches(uploads, session)


async def test_until_it_is_discarded_any_worker_may_publish_a_session_again(
    uploads: Uploads, layout: Layout, blobs: BlobStore
) -> None:
    session = await publish(uploads, blobs)

    assert [path.suffix for path in layout.uploads.iterdir()] == [".json"]  # no other name leads to the blob
    assert (await other_worker(layout).find(session, NAME)).offset == len(CONTENT)
    for each in (uploads, other_worker(layout)):
        async with each.hold(session, NAME) as upload, each.hold(session, NAME) as again:
            assert upload.matches_known(DIGEST)
            assert not upload.matches_known(digest_of(b"others"))
            upload.publish(DIGEST, blobs)
            again.publish(DIGEST, blobs)

    assert layout.blob(DIGEST).read_bytes() == CONTENT


async def publish(uploads: Uploads, blobs: BlobStore) -> str:
    session = await uploads.start(NAME, "sha512")
    async with uploads.hold(session, NAME) as upload:
        upload.append_all("sha512", [CONTENT])
        assert upload.matches(DIGEST)
        upload.publish(DIGEST, blobs)
    return session


async def test_a_published_session_whose_blob_has_gone_is_unknown(
    uploads: Uploads, layout: Layout, blobs: BlobStore
) -> None:
    session = await publish(uploads, blobs)
    layout.blob(DIGEST).unlink()

    async with uploads.hold(session, NAME) as upload:
        with pytest.raises(BlobUploadUnknown):
            upload.publish(DIGEST, blobs)

    assert list(layout.uploads.iterdir()) == []


class WatchedBlobs(BlobStore):
    """Tells whether anybody could have the file alone that is about to become a blob."""

    could_be_locked: bool | None = None

    def publish(self, digest: Digest, source: Path) -> None:
        descriptor = os.open(source, os.O_RDONLY)
        try:
            self.could_be_locked = try_lock(descriptor)
        finally:
            os.close(descriptor)
        super().publish(digest, source)


@pytest.mark.parametrize("is_after_a_kill", [False, True])
async def test_nobody_can_lock_what_becomes_a_blob(
    uploads: Uploads, layout: Layout, blobs: BlobStore, is_after_a_kill: bool
) -> None:
    if is_after_a_kill:
        session = await kill_when_verified(uploads, layout, blobs)
    else:
        session = await uploads.start(NAME, "sha256")
        await append(uploads, session, CONTENT)
    watched = WatchedBlobs(layout)

    async with other_worker(layout).hold(session, NAME) as upload:
        assert upload.matches(DIGEST)
        upload.publish(DIGEST, watched)

    assert watched.could_be_locked is False


@pytest.mark.parametrize("mode", [0o600, 0o444])
@pytest.mark.parametrize("is_after_a_power_cut", [False, True])
async def test_who_comes_after_one_that_was_killed_publishes(
    uploads: Uploads, layout: Layout, blobs: BlobStore, mode: int, is_after_a_power_cut: bool
) -> None:
    session = await kill_when_verified(uploads, layout, blobs, is_after_a_power_cut=is_after_a_power_cut)
    layout.upload_data(session).chmod(mode)

    async with other_worker(layout).hold(session, NAME) as upload:
        upload.publish(DIGEST, blobs)

    assert layout.blob(DIGEST).read_bytes() == CONTENT
    assert [path.suffix for path in layout.uploads.iterdir()] == [".json"]


async def kill_when_verified(
    uploads: Uploads, layout: Layout, blobs: BlobStore, *, is_after_a_power_cut: bool = False
) -> str:
    """Leave what a process leaves that was killed when it had recorded that the bytes are verified."""
    session = await publish(uploads, blobs)
    layout.blob(DIGEST).rename(layout.upload_data(session))
    if is_after_a_power_cut:
        record = replace(record_of(layout, session), boot_id="another run of the kernel")
        write_record(layout.upload_record(session), record)
    return session


@pytest.mark.parametrize("damage", ["spoiled", "shorter", "longer"])
async def test_what_a_power_cut_spoiled_is_not_published(
    uploads: Uploads, layout: Layout, blobs: BlobStore, damage: str
) -> None:
    session = await kill_when_verified(uploads, layout, blobs, is_after_a_power_cut=True)
    layout.upload_data(session).chmod(0o600)
    if damage == "spoiled":
        spoil(layout, session)
    else:
        os.truncate(layout.upload_data(session), len(CONTENT) + (1 if damage == "longer" else -1))

    async with uploads.hold(session, NAME) as upload:
        with pytest.raises(BlobUploadUnknown):
            upload.publish(DIGEST, blobs)

    assert not blobs.has(DIGEST)
    assert list(layout.uploads.iterdir()) == []


async def test_a_file_that_somebody_took_away_is_not_published(
    uploads: Uploads, layout: Layout, blobs: BlobStore
) -> None:
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT)

    async with uploads.hold(session, NAME) as upload:
        layout.upload_data(session).unlink()
        layout.upload_data(session).write_bytes(b"others")
        with pytest.raises(StoreUnusable, match="took it away"):
            upload.publish(DIGEST, blobs)


async def test_a_discarded_session_leaves_nothing(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")

    async with uploads.hold(session, NAME) as upload:
        upload.discard()

    assert list(layout.uploads.iterdir()) == []
