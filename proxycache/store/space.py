"""How much room there is within the bounds, and for whom it is kept.

Room is promised to a blob by a reservation: an empty file as long as the blob will be, made while its maker holds the
lease `LEASE`, so that no room is given twice. It ends when the blob's row is there, which then counts in its place, or
when nothing is to come. What a spool already has on disk counts on its reservation, so a process that died leaks
nothing but what its spool takes.
"""

import contextlib
import os
from dataclasses import dataclass

from proxycache.oci.digest import Digest
from proxycache.store.layout import Layout
from proxycache.store.settings import StorageSettings

LEASE = "space"
BLOCK_BYTES = 4096
_LOG_BYTES = 1001 * BLOCK_BYTES + 64 * 1024  # SQLite's write-ahead log, as long as it gets before it begins anew
_STAT_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own are (inode(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spooled:
    """What spools take on disk, and what they will take beyond that, in bytes."""

    taken: int
    promised: int


class Space:
    """The room in one storage directory. All methods but `fits` block, for some tens of microseconds."""

    def __init__(self, layout: Layout, settings: StorageSettings) -> None:
        self._layout = layout
        self._settings = settings

    def fits(self, size: int) -> bool:
        """Tell whether a blob of `size` bytes could be kept if there were nothing else."""
        return not self._settings.max_size or size <= self._settings.max_size

    @property
    def headroom(self) -> int:
        """How many bytes to keep free for what comes next, so that it needs not wait: 5 % of the budget."""
        return min(self._settings.max_size // 20, 1024**3)

    def available(self, cached_bytes: int, besides: Digest | None) -> int:
        """Return how many bytes may come, less than 0 if a bound is broken; what `besides` has reserved is not counted.

        `cached_bytes` is what the rows say that blobs take.
        """
        spooled = self._spooled(besides)
        status = os.statvfs(self._layout.directory)
        free = status.f_bavail * status.f_frsize - self._settings.min_free - spooled.promised
        if not self._settings.max_size:
            return free
        used = cached_bytes + spooled.taken + spooled.promised + self._beside_content()
        return min(free, self._settings.max_size - used)

    def reserve(self, digest: Digest, size: int) -> None:
        """Promise `size` bytes to `digest`; the caller holds the lease and has seen that they are there."""
        descriptor = os.open(self._layout.reservation(digest), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def release(self, digest: Digest) -> None:
        """End the promise to `digest`, if there is one."""
        with contextlib.suppress(OSError):
            self._layout.reservation(digest).unlink(missing_ok=True)

    def allocated(self, digest: Digest) -> int:
        """Return how many bytes of the disk the spool of `digest` has."""
        try:
            return self._layout.spool_data(digest).stat().st_blocks * _STAT_BLOCK_BYTES
        except FileNotFoundError:
            return 0

    def _spooled(self, besides: Digest | None) -> _Spooled:
        own = "" if besides is None else self._layout.reservation(besides).name
        taken = 0
        lengths: dict[str, int] = {}
        blocks: dict[str, int] = {}
        with os.scandir(self._layout.spools) as entries:
            for entry in entries:
                stem, _, suffix = entry.name.partition(".")
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                if suffix == "reserved":
                    lengths[stem] = 0 if entry.name == own else status.st_size
                else:
                    taken += status.st_blocks * _STAT_BLOCK_BYTES
                    blocks[stem] = blocks.get(stem, 0) + (status.st_blocks * _STAT_BLOCK_BYTES)
        promised = sum(max(0, length - blocks.get(stem, 0)) for stem, length in lengths.items())
        return _Spooled(taken=taken, promised=promised)

    def _beside_content(self) -> int:
        """Return what the database and the folders of blobs take."""
        size = _LOG_BYTES
        for suffix in ("", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path = self._layout.database
                size += path.with_name(path.name + suffix).stat().st_size
        for algorithm in self._layout.blobs.iterdir():
            size += BLOCK_BYTES * (1 + len(os.listdir(algorithm)))  # noqa: PTH208 - names only, counted
        return size
