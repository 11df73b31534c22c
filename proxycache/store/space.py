"""How much room there is within the bounds, and for whom it is kept.

Room is promised to a blob by a reservation: an empty file as long as the blob will be, made while its maker holds the
lease `LEASE`, so that no room is given twice. It ends when the blob's row is there, which then counts in its place, or
when nothing is to come: its maker holds a lock on it, so that the promise of a dead one counts no more. What a spool
already has on disk counts on its reservation. Small blobs get theirs from an allowance of their process
(store/allowance).

A process that dies behind the publication of a blob, or whose database does not take its row, leaves a reservation for
what may have no row: that counts until `left_behind` is seen to.
"""

import contextlib
import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.errors import DigestInvalid
from proxycache.store.allowance import Allowance, promised_by
from proxycache.store.ballast import Ballast
from proxycache.store.layout import Layout
from proxycache.store.leases import is_same_file
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
        self.ballast = Ballast(layout.ballast, settings)
        self._reservations: dict[str, int] = {}  # their open and locked files, by name
        self._changing = threading.RLock()  # else one thread could close what another is about to lock

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
            with self._changing:
                os.ftruncate(self._hold(path), size)
        return lacking

    def renew_allowance(self, promised: int, cached_bytes: int) -> int:
        """*Blocking.* Promise so many bytes to small blobs, those on their way included; else as `reserve`."""
        lacking = promised - self.available(cached_bytes, besides=self.allowance.path.name)
        if lacking <= 0:
            self.allowance.write(promised)
        return lacking

    async def release(self, digest: Digest) -> None:
        """End the promise to `digest`, if there is one; of both kinds, since it may have outgrown the one."""
        was_given = self.allowance.given.pop(digest, None) is not None
        path = self._layout.reservation(digest)
        if not was_given or path.name in self._reservations:
            await run_to_end(self._end_reservation, path)

    async def leave(self, digest: Digest) -> None:
        """Leave the promise to a published `digest` behind, as a process does that dies: its row could not be made."""
        await run_to_end(self._let_go, self._layout.reservation(digest).name)

    def left_behind(self) -> list[Digest]:
        """*Blocking.* Return published blobs whose promise nobody ends any more: is their row there?

        Who has seen to the rows, under the lease, releases them.
        """
        left: list[Path] = []

        def note(path: Path) -> bool:
            left.append(path)
            return True

        for path in self._layout.spools.glob("*.reserved"):
            if path.name not in self._reservations:
                promised_by(path, outlives=note)
        return [digest for digest in map(self._published, left) if digest]

    def close(self) -> None:
        """*Blocking.* End as a process does that dies: what is promised counts no more."""
        self.allowance.close()
        for name in list(self._reservations):
            self._let_go(name)

    def _hold(self, path: Path) -> int:
        """Return the reservation at `path`, open and locked."""
        while True:
            descriptor = self._reservations.get(path.name)
            if descriptor is None:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._reservations[path.name] = descriptor
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # who looks whether we live holds it for a moment
            if is_same_file(descriptor, path):
                return descriptor
            os.close(self._reservations.pop(path.name))  # it was a dead process's, and removed while we waited

    def _end_reservation(self, path: Path) -> None:
        with self._changing:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            self._let_go(path.name)

    def _let_go(self, name: str) -> None:
        with self._changing:
            descriptor = self._reservations.pop(name, None)
            if descriptor is not None:
                os.close(descriptor)

    def restore_ballast(self) -> None:
        """*Blocking.* Make the ballast again if there is room for it."""
        self.ballast.make(self._free_but_for_ballast())

    def _free(self) -> int:
        return self._free_but_for_ballast() - self.ballast.missing

    def _free_but_for_ballast(self) -> int:
        status = os.statvfs(self._layout.directory)
        return status.f_bavail * status.f_frsize - self._settings.min_free

    def _allocated(self, digest: Digest) -> int:
        try:
            return self._layout.spool_data(digest).stat().st_blocks * _STAT_BLOCK_BYTES
        except FileNotFoundError:
            return 0

    def _spooled(self, besides: str) -> _Spooled:
        taken = 0
        reserved: list[Path] = []
        blocks: dict[str, int] = {}
        with os.scandir(self._layout.spools) as entries:
            for entry in entries:
                stem, _, suffix = entry.name.partition(".")
                if suffix == "record":
                    taken += BLOCK_BYTES
                elif suffix == "reserved":
                    reserved.append(Path(entry.path))
                else:
                    with contextlib.suppress(FileNotFoundError):
                        blocks[stem] = blocks.get(stem, 0) + entry.stat().st_blocks * _STAT_BLOCK_BYTES
        promised = sum(
            max(0, self._promised_by(path) - blocks.get(path.stem, 0)) for path in reserved if path.name != besides
        )
        return _Spooled(taken=taken + sum(blocks.values()), promised=promised)

    def _promised_by(self, path: Path) -> int:
        """Return what a reservation promises; where its blob is published, also that of a dead process."""
        if path.name not in self._reservations:
            return promised_by(path, outlives=lambda path: self._published(path) is not None)
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def _published(self, reservation: Path) -> Digest | None:
        """Return for which blob this is, if that is there."""
        try:
            digest = parse_digest(reservation.stem.replace("-", ":", 1))
        except DigestInvalid:
            return None  # somebody else's file
        return digest if self._layout.blob(digest).exists() else None

    def _beside_content(self) -> int:
        """Return what the database, its ballast and the folders of blobs take."""
        size = _LOG_BYTES + _FOLDERS_BYTES + self.ballast.size
        path = self._layout.database
        for beside in (path, path.with_name(f"{path.name}-shm")):
            with contextlib.suppress(FileNotFoundError):
                size += beside.stat().st_size
        return size
