"""How much room there is within the bounds, and for whom it is kept.

Room is promised to a blob by a reservation: an empty file as long as the blob will be, made while its maker holds the
lease `LEASE`, so that no room is given twice. It ends when the blob's row is there, which then counts in its place, or
when nothing is to come. What a spool already has on disk counts on its reservation, so a process that died leaks
nothing but what its spool takes. Small blobs get theirs from an allowance of their process (store/allowance).
"""

import contextlib
import os
from dataclasses import dataclass

from proxycache.oci.digest import Digest
from proxycache.store.allowance import Allowance
from proxycache.store.layout import Layout
from proxycache.store.settings import StorageSettings
from proxycache.tasks import run_to_end

LEASE = "space"
BLOCK_BYTES = 4096
_LOG_BYTES = 1001 * BLOCK_BYTES + 64 * 1024  # SQLite's write-ahead log, as long as it gets before it begins anew
_FOLDERS_BYTES = 257 * BLOCK_BYTES
_STAT_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own are (inode(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spooled:
    """What spools take on disk, and what they will take beyond that, in bytes."""

    taken: int
    promised: int


class Space:
    """The room in one storage directory. Methods marked *blocking* do so for some tens of microseconds."""

    def __init__(self, layout: Layout, settings: StorageSettings) -> None:
        self._layout = layout
        self._settings = settings
        self.allowance = Allowance(layout.allowances, settings)

    def fits(self, size: int) -> bool:
        """Tell whether a blob of `size` bytes could be kept if there were nothing else."""
        return not self._settings.max_size or size <= self._settings.max_size

    @property
    def headroom(self) -> int:
        """How many bytes to keep free for what comes next, so that it needs not wait: 5 % of the budget."""
        return min(self._settings.max_size // 20, 1024**3)

    def available(self, cached_bytes: int, *, besides: str = "") -> int:
        """*Blocking.* Return how many bytes may come; less than 0: a bound is broken.

        `cached_bytes` is what the rows say that blobs take. The promise in a file named `besides` is not counted.
        """
        spooled = self._spooled(besides)
        allowed = self.allowance.promised_by_all(but_own=besides == self.allowance.path.name)
        free = self._free() - spooled.promised - allowed
        if not self._settings.max_size:
            return free
        used = cached_bytes + spooled.taken + spooled.promised + allowed + self._beside_content()
        return min(free, self._settings.max_size - used)

    def available_on_disk(self) -> int:
        """*Blocking.* Return how many bytes may come that the budget does not count; less than 0: a bound is broken."""
        return self._free() - self._spooled("").promised - self.allowance.promised_by_all(but_own=False)

    def reserve(self, digest: Digest, size: int, cached_bytes: int) -> int:
        """*Blocking.* Promise `size` bytes to `digest` if they are there; return how many are lacking, if any.

        What its spool has on disk is a part of them. The caller holds the lease.
        """
        path = self._layout.reservation(digest)
        lacking = size - self._allocated(digest) - self.available(cached_bytes, besides=path.name)
        if lacking <= 0:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
        return lacking

    def renew_allowance(self, promised: int, cached_bytes: int) -> int:
        """*Blocking.* Promise so many bytes to small blobs, those on their way included; else as `reserve`."""
        lacking = promised - self.available(cached_bytes, besides=self.allowance.path.name)
        if lacking <= 0:
            self.allowance.write(promised)
        return lacking

    async def release(self, digest: Digest) -> None:
        """End the promise to `digest`, if there is one."""
        if self.allowance.given.pop(digest, None) is None:
            await run_to_end(self._unlink_reservation, digest)

    def _unlink_reservation(self, digest: Digest) -> None:
        with contextlib.suppress(OSError):
            self._layout.reservation(digest).unlink(missing_ok=True)

    def _free(self) -> int:
        status = os.statvfs(self._layout.directory)
        return status.f_bavail * status.f_frsize - self._settings.min_free

    def _allocated(self, digest: Digest) -> int:
        try:
            return self._layout.spool_data(digest).stat().st_blocks * _STAT_BLOCK_BYTES
        except FileNotFoundError:
            return 0

    def _spooled(self, besides: str) -> _Spooled:
        taken = 0
        lengths: dict[str, int] = {}
        blocks: dict[str, int] = {}
        with os.scandir(self._layout.spools) as entries:
            for entry in entries:
                stem, _, suffix = entry.name.partition(".")
                if suffix == "record":
                    taken += BLOCK_BYTES
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    if suffix == "reserved":
                        lengths[stem] = 0 if entry.name == besides else status.st_size
                    else:
                        blocks[stem] = blocks.get(stem, 0) + status.st_blocks * _STAT_BLOCK_BYTES
        promised = sum(max(0, length - blocks.get(stem, 0)) for stem, length in lengths.items())
        return _Spooled(taken=taken + sum(blocks.values()), promised=promised)

    def _beside_content(self) -> int:
        """Return what the database and the folders of blobs take."""
        size = _LOG_BYTES + _FOLDERS_BYTES
        path = self._layout.database
        for beside in (path, path.with_name(f"{path.name}-shm")):
            with contextlib.suppress(FileNotFoundError):
                size += beside.stat().st_size
        return size
