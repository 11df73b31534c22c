"""The leader's side of a spool: append, verify, publish, give up.

The methods marked *blocking* are for a thread. Who holds a `SpoolWriter` holds the lease; `release` gives it
back, with whatever was written left in place for the next leader.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from proxycache.oci.digest import Digest
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreUnusable
from proxycache.store.hashed_file import HashedFile
from proxycache.store.leases import is_same_file
from proxycache.store.spool_record import SpoolRecord
from proxycache.tasks import run_to_end


class SpoolWriter:
    """The one writer of a spool. Positions are given with every write: readers' sendfile moves none of ours."""

    def __init__(self, digest: Digest, record: SpoolRecord, data: BinaryIO, paths: tuple[Path, Path]) -> None:
        self.digest = digest
        self._record = record
        self._data = data
        self._data_path, self._record_path = paths
        self._hashed = HashedFile(data.fileno(), digest.new_hash())
        progress = record.progress()
        self.inherited = min(progress.written, os.fstat(data.fileno()).st_size)
        self.size = progress.size

    @property
    def written(self) -> int:
        """How many bytes were written, and hashed."""
        return self._hashed.written

    def rehash(self, now: Callable[[], float]) -> None:
        """*Blocking.* Take over the bytes that are there: hash them again, telling the world that we live."""
        self._hashed.take_over(self.inherited, lambda: self._record.beat(now()))
        self.inherited = self.written
        self._record.set_rehashed(self.written)

    def begin(self, size: int | None) -> None:
        """*Blocking.* Note the size that the upstream announced and have room for it; OSError where there is none."""
        if size:
            os.posix_fallocate(self._data.fileno(), 0, size)
        self.size = size
        self._record.set_filling(size)

    def append(self, pieces: Sequence[bytes]) -> None:
        """*Blocking.* Write and hash pieces; they may be read as soon as this returns."""
        self._hashed.append(pieces)
        self._record.set_written(self.written)

    def start_over(self) -> None:
        """*Blocking.* Forget all bytes and give their room back; readers that have sent some are cut."""
        self._record.begin_generation()
        os.ftruncate(self._data.fileno(), 0)
        self._hashed = HashedFile(self._data.fileno(), self.digest.new_hash())
        self.inherited = 0
        self.size = None

    def beat(self, now_monotonic: float) -> None:
        """Say that the leader lives."""
        self._record.beat(now_monotonic)

    def verify(self) -> bool:
        """Let the tail go if what was written is what the digest says."""
        if not self.digest.matches(self._hashed.hash):
            return False
        self._record.set_verified()
        return True

    async def publish(self, blobs: BlobStore) -> None:
        """Make the verified data a blob, durable on return; the spool is gone then."""
        await run_to_end(self._publish, blobs)

    def _publish(self, blobs: BlobStore) -> None:
        self._trim()
        blobs.publish(self.digest, self._data_path)
        self._record.set_published()
        self._record_path.unlink(missing_ok=True)

    def _trim(self) -> None:
        """Cut off room that was made for a larger size, which an upstream had announced before."""
        descriptor = self._data.fileno()
        if not is_same_file(descriptor, self._data_path):
            raise StoreUnusable(self._data_path, "somebody took it away")
        if os.fstat(descriptor).st_size > self.written:
            os.ftruncate(descriptor, self.written)

    def mark_published(self) -> None:
        """The data file is the blob already: a leader before us died between publishing and saying so."""
        self._record.set_written(self.inherited)
        self._record.set_published()
        self._record_path.unlink(missing_ok=True)

    def fail(self, failure: bytes) -> None:
        """End the attempt; what was written stays for the next one."""
        self._record.set_failed(failure)

    def discard(self) -> None:
        """Remove the spool's files; who has them open reads on."""
        for path in (self._data_path, self._record_path):
            with contextlib.suppress(OSError):  # a disk that is read-only now must not hide why the fill ended
                path.unlink(missing_ok=True)

    def release(self) -> None:
        """Give the lease back."""
        fcntl.flock(self._record.descriptor, fcntl.LOCK_UN)
