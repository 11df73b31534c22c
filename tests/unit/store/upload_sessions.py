"""Sessions of one repository: append to them, and look at their files and records."""

import random

from proxycache.oci.digest import digest_of
from proxycache.store.layout import Layout
from proxycache.store.upload_record import UploadRecord, read_record
from proxycache.store.uploads import Uploads
from tests.fakes.clock import FakeClock

NAME = "local/app"
MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(3 * MIB)
DIGEST = digest_of(CONTENT)


def other_worker(layout: Layout) -> Uploads:
    return Uploads(layout, FakeClock())


async def append(uploads: Uploads, session: str, *pieces: bytes) -> int:
    async with uploads.hold(session, NAME) as upload:
        upload.begin("sha256")
        upload.append(pieces)
        upload.save()
        return upload.offset


def record_of(layout: Layout, session: str) -> UploadRecord:
    record = read_record(layout.upload_record(session))
    assert record is not None
    return record


def spoil(layout: Layout, session: str) -> None:
    """Change the first byte: who reads the bytes again gets another hash."""
    with layout.upload_data(session).open("r+b") as file:
        file.write(bytes([CONTENT[0] ^ 1]))


async def matches(uploads: Uploads, session: str) -> bool:
    async with uploads.hold(session, NAME) as upload:
        return upload.matches(DIGEST)
