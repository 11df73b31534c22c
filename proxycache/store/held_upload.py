"""One upload session in the hands of one request: append, verify, publish, give up.

All methods block, unless they say that they do not. One that raises OSError leaves the session usable, as it was last
recorded.

A session ends in steps, at each of which its process may be killed or the disk refuse:

    1  verified    the record says so: from here on only `publish` and `discard` touch the session, and no lock counts
    2  published   the data file has become the blob, by rename: there never is a second name that leads to its bytes
    3  discarded   by whoever published, once the blob's row is durable

Until step 3, whoever knows the digest can come to the end again without a byte, at any worker. What nobody comes back
to is a record, with a data file or without, that expires as a session does.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from proxycache.oci.digest import Digest, Hash
from proxycache.oci.errors import BlobUploadUnknown
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreUnusable
from proxycache.store.hashed_file import HashedFile
from proxycache.store.layout import Layout
from proxycache.store.leases import is_same_file, try_lock
from proxycache.store.upload_record import UploadRecord, boot_id, mark_verified, read_record, write_record

KnownHash: TypeAlias = tuple[Hash, int]

_RECORD_EVERY_BYTES = 8 * 1024 * 1024


class HeldUpload:
    """A session that nobody else has while its data file is locked; `record` is what the others know of it.

    `known_hash` is a hash and of how many bytes it is; whoever wrote here last gives it, so that they need not be read.
    """

    record: UploadRecord

    def __init__(self, layout: Layout, session: str) -> None:
        self.session = session
        self.known_hash: KnownHash | None = None
        self._data_path = layout.upload_data(session)
        self._record_path = layout.upload_record(session)
        self._descriptor = -1
        self._file: HashedFile | None = None

    def try_open(self, repository: str) -> bool:
        """Take the session unless somebody has it; raises BlobUploadUnknown if it has ended, or is another one's.

        One that is verified is everybody's.
        """
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it is a blob, or was about to become one
            self._descriptor = os.open(self._data_path, os.O_RDWR | os.O_CLOEXEC)
        is_there = self._descriptor >= 0
        is_taken = is_there and try_lock(self._descriptor)
        record = read_record(self._record_path)
        if record is None or record.repository != repository or not (is_there or record.is_verified):
            raise BlobUploadUnknown(self.session)
        self.record = record
        if record.is_verified or not is_taken:
            self.close()
        return record.is_verified or is_taken

    @property
    def offset(self) -> int:
        """How many bytes there are."""
        return self.record.offset if self._file is None else self._file.written

    def begin(self, algorithm: str) -> None:
        """Get ready to append: cut off what was not recorded, and have the hash of what was.

        A session without bytes gets the hash of `algorithm`, which by now may be known better than when it began.
        """
        if not self.record.offset:
            self.record = replace(self.record, algorithm=algorithm, hashed=hashlib.new(algorithm).hexdigest())
        size = min(self.record.offset, os.fstat(self._descriptor).st_size)
        os.ftruncate(self._descriptor, size)
        self._file = self._find_known(size)
        if self._file is None:
            self._file = HashedFile(self._descriptor, hashlib.new(self.record.algorithm))
            self._file.take_over(size)
        self.known_hash = self._file.hash, self._file.written

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write and hash pieces."""
        if self._file is None:
            raise RuntimeError("begin comes first")
        try:
            self._file.append(pieces)
        finally:
            self.known_hash = self._file.hash, self._file.written
        if self._file.written - self.record.offset >= _RECORD_EVERY_BYTES:
            self.save()

    def save(self) -> None:
        """Let what was written count, for all processes."""
        if self._file is None:
            return
        hashed = self._file.hash.hexdigest()
        record = replace(self.record, offset=self._file.written, hashed=hashed, boot_id=boot_id())
        write_record(self._record_path, record)
        self.record = record

    def append_all(self, algorithm: str, pieces: Sequence[bytes]) -> None:
        """Get ready, append, and let it count: all that a small body needs."""
        self.begin(algorithm)
        try:
            self.append(pieces)
        finally:
            self.save()

    def matches_known(self, digest: Digest) -> bool | None:
        """Tell whether the bytes are what `digest` says; None: nobody has hashed them so. (This does not block.)"""
        is_of_kind = self.record.algorithm == digest.algorithm
        if self.record.is_verified:
            return is_of_kind and self.record.hashed == digest.encoded
        if self._file is not None and is_of_kind:
            return digest.matches(self._file.hash)
        if self._file is None and is_of_kind and self._is_believed():
            return self.record.hashed == digest.encoded
        return None

    def matches(self, digest: Digest) -> bool:
        """Tell whether the bytes are what `digest` says; they are read only where nobody has hashed them so."""
        known = self.matches_known(digest)
        return self._reads_as(digest) if known is None else known

    def _reads_as(self, digest: Digest) -> bool:
        read = HashedFile(self._descriptor, digest.new_hash())
        read.take_over(self.offset)
        return digest.matches(read.hash)

    def publish(self, digest: Digest, blobs: BlobStore) -> None:
        """Make the verified bytes the blob `digest`, durable on return; one at a time publishes a digest.

        The session stays, so that it can be published again, until it is discarded. Raises StoreError, or
        BlobUploadUnknown where it was published before and the blob has gone since.
        """
        if not self.record.is_verified:
            self._end(digest)
        elif not blobs.has(digest) and not self._still_has(digest):
            self.discard()
            raise BlobUploadUnknown(self.session)
        blobs.publish(digest, self._data_path)
        self._forget()

    def _end(self, digest: Digest) -> None:
        """Record that the bytes are verified, without which somebody else could go on with what becomes the blob."""
        if not is_same_file(self._descriptor, self._data_path):
            raise StoreUnusable(self._data_path, "somebody took it away")
        os.ftruncate(self._descriptor, self.offset)
        record = replace(
            self.record, algorithm=digest.algorithm, offset=self.offset, hashed=digest.encoded, boot_id=boot_id()
        )
        if record != self.record:
            write_record(self._record_path, record)
        mark_verified(self._record_path)
        self.record = replace(record, is_verified=True)
        self._share()

    def _share(self) -> None:
        """Let nobody have the file alone from here on: that would make readers of the blob take it for one that goes.

        Whoever took its lock before the record said that it is verified is waited for, and lets go on seeing that.
        """
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def _still_has(self, digest: Digest) -> bool:
        """Tell whether the verified bytes are here, of whoever was killed before they became the blob."""
        try:
            self._descriptor = os.open(self._data_path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._share()
        is_whole = os.fstat(self._descriptor).st_size == self.record.offset
        return is_whole and (self._is_believed() or self._reads_as(digest))

    def discard(self) -> None:
        """Remove the session, bytes and all."""
        self._record_path.unlink(missing_ok=True)
        self._data_path.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        self.known_hash = None
        self.close()  # here and not later: it frees the blocks of a file without a name, which may take its time

    def close(self) -> None:
        """Let the session go. (Of one that is still there, this does not block.)"""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _find_known(self, size: int) -> HashedFile | None:
        """Return the file with the hash that this process has of it, unless others have written since."""
        if self.known_hash is None:
            return None
        known, written = self.known_hash
        if (written, known.hexdigest()) != (size, self.record.hashed):
            return None
        return HashedFile(self._descriptor, known, written)

    def _is_believed(self) -> bool:
        return self.record.boot_id == boot_id() and os.fstat(self._descriptor).st_size >= self.record.offset
