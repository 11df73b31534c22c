"""Sessions: who has one, who waits, and when they end by themselves."""

import asyncio
import os
from uuid import UUID, uuid4

import pytest

from proxycache.oci.errors import BlobUploadUnknown
from proxycache.store import uploads as uploads_module
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import UploadBusy
from proxycache.store.layout import Layout
from proxycache.store.upload_record import boot_id
from proxycache.store.uploads import Uploads
from tests.fakes.clock import FakeClock
from tests.unit.store.conftest import StartProcess
from tests.unit.store.upload_sessions import CONTENT, DIGEST, MIB, NAME, append, matches, other_worker, spoil

UNKNOWN = "0f4be61f6c4a4d0f8a8f0e6f2b9c7d11"

# Holds a session until it is killed.
HOLD = """
import asyncio, sys
from pathlib import Path
from proxycache.clock import SystemClock
from proxycache.store.layout import Layout
from proxycache.store.uploads import Uploads

async def main():
    uploads = Uploads(Layout(Path(sys.argv[1])), SystemClock())
    async with uploads.hold(sys.argv[2], "local/app") as upload:
        upload.begin("sha256")
        upload.append([b"x" * 100])
        upload.save()
        upload.append([b"y" * 50])
        print("held", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_a_session_begins_empty(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")

    record = await uploads.find(session, NAME)
    assert (record.repository, record.algorithm, record.offset) == (NAME, "sha256", 0)
    assert layout.upload_data(session).read_bytes() == b""


@pytest.mark.parametrize(
    "session",
    ["", "x", "../../etc/passwd", UNKNOWN.upper(), str(UUID(UNKNOWN)), "0" * 32, UNKNOWN + "\n", UNKNOWN],
)
async def test_what_is_no_session_is_unknown(uploads: Uploads, session: str) -> None:
    with pytest.raises(BlobUploadUnknown):
        await uploads.find(session, NAME)
    with pytest.raises(BlobUploadUnknown):
        async with uploads.hold(session, NAME):
            pass


async def test_a_session_is_unknown_to_other_repositories(uploads: Uploads) -> None:
    session = await uploads.start(NAME, "sha256")

    with pytest.raises(BlobUploadUnknown):
        await uploads.find(session, "local/other")
    with pytest.raises(BlobUploadUnknown):
        async with uploads.hold(session, "local/other"):
            pass


async def test_a_process_remembers_a_bounded_number(uploads: Uploads, layout: Layout, monkeypatch) -> None:
    monkeypatch.setattr(uploads_module, "_MOST_HASHES", 2)
    session = await uploads.start(NAME, "sha256")
    await append(uploads, session, CONTENT[:MIB])
    for _ in range(2):
        await append(uploads, await uploads.start(NAME, "sha256"), b"x")
    spoil(layout, session)

    await append(uploads, session, CONTENT[MIB:])

    assert not await matches(uploads, session)


async def test_one_request_has_a_session_and_the_next_one_waits(uploads: Uploads, layout: Layout) -> None:
    session = await uploads.start(NAME, "sha256")
    order = []

    async def second() -> None:
        async with other_worker(layout).hold(session, NAME) as upload:
            order.append(upload.offset)

    async with uploads.hold(session, NAME) as upload:
        waiting = asyncio.get_running_loop().create_task(second())
        upload.begin("sha256")
        await asyncio.sleep(0.1)
        upload.append([b"x" * 7])
        upload.save()
        order.append(-1)
    await waiting

    assert order == [-1, 7]


async def test_who_waits_too_long_is_told_why(uploads: Uploads, layout: Layout, monkeypatch) -> None:
    monkeypatch.setattr(uploads_module, "_PATIENCE_SECONDS", 0.05)
    session = await uploads.start(NAME, "sha256")

    async with uploads.hold(session, NAME):
        with pytest.raises(UploadBusy, match="in use by another request"):
            async with other_worker(layout).hold(session, NAME):
                pass
    async with uploads.hold(session, NAME):
        pass  # nothing of the one that waited is left


async def test_a_process_that_dies_lets_its_session_go(
    uploads: Uploads, layout: Layout, start_process: StartProcess
) -> None:
    session = await uploads.start(NAME, "sha256")
    process = start_process(HOLD, layout.directory, session)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert layout.upload_data(session).stat().st_size == 150

    process.kill()

    async with uploads.hold(session, NAME) as upload:
        assert upload.offset == 100
        upload.begin("sha256")
        assert layout.upload_data(session).read_bytes() == b"x" * 100


async def test_sessions_expire_that_nobody_wrote_to_and_nobody_holds(layout: Layout) -> None:
    clock = FakeClock()
    uploads = Uploads(layout, clock)
    old, held = await uploads.start(NAME, "sha256"), await uploads.start(NAME, "sha256")
    for path in layout.uploads.iterdir():
        os.utime(path, (clock.now(), clock.now()))
    clock.advance(3600)
    fresh = await uploads.start(NAME, "sha256")
    os.utime(layout.upload_data(fresh), (clock.now(), clock.now()))

    async with uploads.hold(held, NAME):
        assert uploads.expire(3600 - 1) == 1

    assert {path.stem for path in layout.uploads.iterdir()} == {held, fresh}
    with pytest.raises(BlobUploadUnknown):
        await uploads.find(old, NAME)


async def test_what_a_crash_left_expires_too(layout: Layout) -> None:
    clock = FakeClock()
    uploads = Uploads(layout, clock)
    session = await uploads.start(NAME, "sha256")
    alone, half = layout.upload_record(uuid4().hex), layout.upload_data(uuid4().hex)
    temporary = layout.uploads / f".{session}.json.abcd"
    for path in (alone, half, temporary):
        path.touch()
        os.utime(path, (clock.now() - 10, clock.now() - 10))
    half.chmod(0o444)  # killed in the middle of publishing
    os.utime(layout.upload_data(session), (clock.now(), clock.now()))

    uploads.expire(5)

    assert {path.stem for path in layout.uploads.iterdir()} == {session}


async def test_a_verified_session_expires_as_any_other(layout: Layout, blobs: BlobStore) -> None:
    clock = FakeClock()
    uploads = Uploads(layout, clock)
    session = await uploads.start(NAME, "sha256")
    async with uploads.hold(session, NAME) as upload:
        upload.append_all("sha256", [CONTENT])
        upload.publish(DIGEST, blobs)

    for age, left in ((3599, [layout.upload_record(session)]), (3601, [])):
        moment = clock.now() - age
        os.utime(layout.upload_record(session), (moment, moment))
        uploads.expire(3600)
        assert list(layout.uploads.iterdir()) == left
    assert layout.blob(DIGEST).read_bytes() == CONTENT


async def test_the_repositories_with_sessions_are_known(uploads: Uploads, layout: Layout) -> None:
    for name in (NAME, NAME, "local/b"):
        await uploads.start(name, "sha256")
    ended = await uploads.start("local/c", "sha256")
    async with uploads.hold(ended, "local/c") as upload:
        upload.discard()
    layout.upload_record(uuid4().hex).write_bytes(b"")

    assert uploads.open_repositories() == {NAME, "local/b"}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"repository": 1, "more": 2}', b"\xff"])
async def test_a_record_that_makes_no_sense_is_none(uploads: Uploads, layout: Layout, text: bytes) -> None:
    session = await uploads.start(NAME, "sha256")
    layout.upload_record(session).write_bytes(text)

    with pytest.raises(BlobUploadUnknown):
        await uploads.find(session, NAME)
    assert boot_id()
