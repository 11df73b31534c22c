"""Room for the database where the disk has none: a file that takes it until then.

SQLite that cannot write can neither open nor evict, so a disk that somebody filled to the last byte would stay full.
The file is dropped then, and made again behind the next eviction; it counts as taken whether it is there or not.
"""

import contextlib
import os
from pathlib import Path

from proxycache.store.settings import StorageSettings

_MOST_BYTES = 4 * 1024 * 1024
_SHARE_OF_BUDGET = 64
_STAT_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own are (inode(7))


class Ballast:
    """The ballast at one path. All methods block for some tens of microseconds; none fails."""

    def __init__(self, path: Path, settings: StorageSettings) -> None:
        self._path = path
        self.size = min(_MOST_BYTES, settings.max_size // _SHARE_OF_BUDGET) if settings.max_size else _MOST_BYTES

    @property
    def missing(self) -> int:
        """How many bytes the disk has to give for it still."""
        return max(0, self.size - self._taken())

    def drop(self) -> None:
        """Give its room to who writes now, where the disk has less."""
        drop_ballast(self._path)

    def make(self, free: int) -> None:
        """Make it, if it is not as it should be and `free` bytes suffice for that."""
        if free < self.missing or (not self.missing and self._length() == self.size):
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size)
                os.ftruncate(descriptor, self.size)  # of a larger budget's
            finally:
                os.close(descriptor)
        except OSError:  # somebody was faster
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _taken(self) -> int:
        """Return what the disk has given for it, which may be less than it is long: who made it was killed."""
        try:
            return self._path.stat().st_blocks * _STAT_BLOCK_BYTES
        except OSError:
            return 0

    def _length(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


def drop_ballast(path: Path) -> None:
    """*Blocking.* Remove the ballast at `path` if the disk has less room than it takes."""
    with contextlib.suppress(OSError):
        status = os.statvfs(path)
        if status.f_bavail * status.f_frsize < path.stat().st_size:
            path.unlink()
