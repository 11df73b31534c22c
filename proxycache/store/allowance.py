"""Room that one process may give to small blobs without asking: taken under the lease, a lot at a time.

The promise is a file as long as the room, locked by its process, so that a dead one's counts no more. It is not
shortened as room is given away: until it is renewed, what was given counts twice, never not at all.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from proxycache.oci.digest import Digest
from proxycache.store.leases import try_lock
from proxycache.store.settings import StorageSettings

_BLOCK_BYTES = 4096
_MOST_BYTES = 8 * 1024 * 1024
_SHARE_OF_BUDGET = 64
_SHARE_OF_ALLOWANCE = 8


class Allowance:
    """The allowance of this process, and what others have."""

    def __init__(self, directory: Path, settings: StorageSettings) -> None:
        self._directory = directory
        self.size = min(_MOST_BYTES, settings.max_size // _SHARE_OF_BUDGET) if settings.max_size else _MOST_BYTES
        self.path = directory / uuid4().hex
        self.given: dict[Digest, int] = {}
        self._left = 0
        self._spent = 0
        self._descriptor: int | None = None

    def is_for(self, size: int) -> bool:
        """Tell whether a blob of `size` bytes is small enough to get its room from here."""
        return size <= self.size // _SHARE_OF_ALLOWANCE

    def give(self, digest: Digest, size: int) -> bool:
        """Give room to `digest`, if enough is left."""
        cost = -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
        if not self.is_for(size) or cost > self._left:
            return False
        self._left -= cost
        self._spent += cost
        self.given[digest] = cost
        return True

    @property
    def spent(self) -> int:
        """All that was ever given."""
        return self._spent

    @property
    def owed(self) -> int:
        """How much has to stay promised: what is on its way, and what may still be given."""
        return self._left + sum(self.given.values())

    def renewed(self, spent_before: int) -> None:
        """The file holds a whole allowance again, as of when `spent` was `spent_before`."""
        self._left = self.size - (self._spent - spent_before)

    def write(self, promised: int) -> None:
        """*Blocking.* Promise so many bytes from now on."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # who counts holds it for a moment
        os.ftruncate(self._descriptor, promised)

    def promised_by_all(self, *, but_own: bool) -> int:
        """*Blocking.* Return what all living processes have promised; files of dead ones are removed."""
        promised = 0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                is_own = entry.name == self.path.name
                if not (is_own and but_own):
                    promised += entry.stat().st_size if is_own else promised_by(Path(entry.path))
        return promised

    def close(self) -> None:
        """*Blocking.* Give everything back."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
            self._left = 0


def promised_by(path: Path, outlives: Callable[[Path], bool] = lambda _: False) -> int:
    """*Blocking.* Return what the file of a living process promises; the file of a dead one is removed.

    One that `outlives` its process stays, and promises what it did.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        # Of no size: its owner has made it this moment, and is about to lock it.
        if not size or not try_lock(descriptor) or outlives(path):
            return size
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return 0
    finally:
        os.close(descriptor)
