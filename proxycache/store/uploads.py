"""Upload sessions: what clients push in several requests, of which each may come to another worker.

A session is two files: its bytes, and a record that says how many of them count, and their hash. Who holds the lock of
the data file has the session; the lock ends with its holder. The record is written every 8 MiB and when a request
ends, also one that is cut; bytes beyond it are cut off by whoever goes on. One that is verified is a record, at last
without a data file, until the row of its blob is there (`store/held_upload`).
"""

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from proxycache.clock import Clock
from proxycache.oci.errors import BlobUploadUnknown
from proxycache.store.errors import UploadBusy
from proxycache.store.held_upload import HeldUpload, KnownHash
from proxycache.store.layout import Layout
from proxycache.store.leases import try_lock
from proxycache.store.upload_record import UploadRecord, boot_id, read_record, write_record
from proxycache.tasks import run_to_end

_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.02
_MOST_HASHES = 256
_UUID4 = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")


class Uploads:
    """The sessions of one storage directory."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._hashes: dict[str, KnownHash] = {}

    @property
    def directory(self) -> Path:
        """Where the sessions lie."""
        return self._layout.uploads

    async def start(self, repository: str, algorithm: str) -> str:
        """Begin a session of `repository`, and return its id; raises OSError."""
        session = uuid4().hex
        await run_to_end(self._start, session, repository, algorithm)
        return session

    async def find(self, session: str, repository: str) -> UploadRecord:
        """Return what was last recorded of the session; raises BlobUploadUnknown."""
        _check_id(session)
        record = await run_to_end(read_record, self._layout.upload_record(session))
        if record is None or record.repository != repository:
            raise BlobUploadUnknown(session)
        return record

    @contextlib.asynccontextmanager
    async def hold(self, session: str, repository: str) -> AsyncIterator[HeldUpload]:
        """Have the session alone while the block runs.

        Raises BlobUploadUnknown, OSError, or UploadBusy if somebody else has it for too long. One that is verified may
        be in several hands: nobody writes to it.
        """
        _check_id(session)
        upload = HeldUpload(self._layout, session)
        try:
            await self._wait_for(upload, repository)
            upload.known_hash = self._hashes.pop(session, None)
            yield upload
        finally:
            self._remember(upload)
            upload.close()

    def expire(self, age_seconds: float) -> int:
        """*Blocking.* Remove sessions that nobody wrote to for so long and nobody holds; return how many that were."""
        oldest = self._clock.now() - age_seconds
        old = [path for path in self._layout.uploads.iterdir() if _last_written(path) < oldest]
        count = sum(_remove_unless_held(path, oldest) for path in old if path.suffix == ".data")
        for path in old:
            if path.suffix == ".data" or path.with_suffix(".data").exists():
                continue
            if _last_written(path) < oldest:  # still: who verifies it writes it anew, and takes the data file away
                path.unlink(missing_ok=True)  # what a crash left, or nobody came back to
        return count

    def open_repositories(self) -> set[str]:
        """*Blocking.* Return the repositories that have a session. (None goes on whose record makes no sense.)"""
        records = map(read_record, self._layout.uploads.glob("[!.]*.json"))
        return {record.repository for record in records if record is not None}

    def _start(self, session: str, repository: str, algorithm: str) -> None:
        data = self._layout.upload_data(session)
        os.close(os.open(data, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        record = UploadRecord(
            repository=repository,
            algorithm=algorithm,
            offset=0,
            hashed=hashlib.new(algorithm).hexdigest(),
            boot_id=boot_id(),
            started_at=self._clock.now(),
        )
        try:
            write_record(self._layout.upload_record(session), record)
        except OSError:
            data.unlink(missing_ok=True)
            raise

    async def _wait_for(self, upload: HeldUpload, repository: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_SECONDS
        while not await run_to_end(upload.try_open, repository):
            if loop.time() > deadline:
                raise UploadBusy(upload.session)
            await asyncio.sleep(_POLL_SECONDS)

    def _remember(self, upload: HeldUpload) -> None:
        if upload.known_hash is not None:
            self._hashes[upload.session] = upload.known_hash
            if len(self._hashes) > _MOST_HASHES:
                del self._hashes[next(iter(self._hashes))]


def _check_id(session: str) -> None:
    """Raise BlobUploadUnknown for what is no session's id, and could be any path."""
    if _UUID4.fullmatch(session) is None:
        raise BlobUploadUnknown(session)


def _last_written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _remove_unless_held(data: Path, oldest: float) -> bool:
    """Remove a session under its lock, so that no request loses what it goes on with."""
    try:
        descriptor = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(descriptor) or _last_written(data) >= oldest:
            return False
        data.with_suffix(".json").unlink(missing_ok=True)
        data.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
