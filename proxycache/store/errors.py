"""What can be wrong with the disk.

    StoreError
    ├── FormatTooNew      written by a newer version of this program
    ├── StoreDamaged      a file does not contain what it must
    ├── StoreUnusable     the directory or a file of it cannot be read or written
    ├── StoreBusy         another process holds the database's write lock for too long
    ├── StoreFull         there is no room, and none can be made
    ├── UploadBusy        another request writes to the upload session
    └── BlobCorrupt       bytes that are not what their digest says

Each text is one line that names the file and, where somebody can mend it, says how.
"""

from pathlib import Path

from proxycache.oci.digest import Digest
from proxycache.oci.errors import ProxycacheError


class StoreError(ProxycacheError):
    """Something is wrong with the disk or what lies on it."""


class FormatTooNew(StoreError):
    """A newer version wrote this directory; reading it by guesswork could harm it."""

    def __init__(self, path: Path, *, found: int, known: int) -> None:
        super().__init__(f"{path} has format {found}, and this version knows {known} at most: use a newer proxycache")
        self.found = found
        self.known = known


class StoreDamaged(StoreError):
    """A file is damaged. It is never deleted here: somebody decides what becomes of it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is damaged ({reason}): stop proxycache and put a backup in its place; without one, move {path}*"
            " away: what is cached refills, what was pushed is lost"
        )
        self.path = path
        self.reason = reason


class StoreUnusable(StoreError):
    """The system refuses to read or write something of the directory."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot use {path}: {reason}")
        self.path = path
        self.reason = reason


class StoreBusy(StoreError):
    """The write lock did not come free in time; nothing was written, and asking again may succeed."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is busy: another writer holds its lock")
        self.path = path


class StoreFull(StoreError):
    """There is no room for a blob within the bounds, and none can be made now; a puller gets it past the disk."""

    def __init__(self, digest: Digest, size: int) -> None:
        super().__init__(f"no room for {digest}: {size} bytes more are beyond max_size or min_free")
        self.digest = digest
        self.size = size


class UploadBusy(StoreError):
    """Another request has the upload session; asking again may succeed."""

    def __init__(self, session: str) -> None:
        super().__init__(f"upload {session} is in use by another request")


class BlobCorrupt(StoreError):
    """The bytes are not what their digest says."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"content is not what {digest} says")
        self.digest = digest
