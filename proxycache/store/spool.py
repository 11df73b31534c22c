"""Growing blob files: one writer over all processes, many readers in each (DESIGN, "Miss").

A spool is two files below `spools/`: the data, and a small record that says how much of it is there. Its leader
holds the lock of the record file, which therefore dies with its process. (Not the lock of the data file: that
becomes the blob, whose readers take shared locks.) Whoever gets the lock goes on with the bytes that are there.

Invariant 4 lives here: `servable` is how far a reader may go before the digest is verified.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.store.layout import Layout
from proxycache.store.leases import is_same_file, try_lock
from proxycache.store.spool_record import Progress, SpoolRecord, SpoolState
from proxycache.store.spool_writer import SpoolWriter

HELD_BACK_BYTES = 64 * 1024
DISTRUST_SECONDS = 60.0
_WANTED_SECONDS = 2.0
_FASTEST_POLL_SECONDS = 0.004
_SLOWEST_POLL_SECONDS = 0.05


def servable(progress: Progress) -> int:
    """Return up to where bytes may go to readers: all once verified, else never the last 64 KiB."""
    if progress.state in {SpoolState.VERIFIED, SpoolState.PUBLISHED}:
        return progress.written
    if progress.size is None:
        return max(0, progress.written - HELD_BACK_BYTES)
    return min(progress.written, max(0, progress.size - HELD_BACK_BYTES))


class Spool:
    """One digest's spool as this process sees it, shared by its readers and, if the leader is here, the leader."""

    def __init__(self, digest: Digest, layout: Layout, clock: Clock) -> None:
        self.digest = digest
        self.is_led_here = False
        self.users = 0
        self._clock = clock
        self._record_path = layout.spool_record(digest)
        self._data_path = layout.spool_data(digest)
        self._blob_path = layout.blob(digest)
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._waiters = 0
        self._record = SpoolRecord(self._record_path)
        try:
            self.data: BinaryIO = _open_data(self._data_path)
        except BaseException:
            self._record.close()
            raise
        self._has_data = self._record.progress().written <= os.fstat(self.data.fileno()).st_size

    def progress(self) -> Progress:
        """Return what is there now."""
        return self._record.progress()

    @property
    def failure(self) -> bytes:
        """Why the last attempt failed, in the words of its leader."""
        return self._record.failure

    def is_fetched_for(self, repository: str) -> bool:
        """Tell whether the last leader fetches, with its rights, for this repository."""
        return self._record.fetched_for == _identity(repository)

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the leader last said that it lives."""
        return self._clock.monotonic() - self._record.heartbeat

    def try_lead(self, repository: str) -> SpoolWriter | None:
        """Become the leader, for `repository`, unless there is one or the spool has ended (`is_gone`)."""
        if self.is_led_here or not try_lock(self._record.descriptor):
            return None
        writer = SpoolWriter(self.digest, self._record, self.data, (self._data_path, self._record_path))
        if not is_same_file(self._record.descriptor, self._record_path):
            writer.release()
            return None
        self._record.begin_attempt(self._clock.monotonic(), fetched_for=_identity(repository), written=writer.inherited)
        self._has_data = True
        self.is_led_here = True
        return writer

    def end_lead(self, writer: SpoolWriter) -> None:
        """Give the lease back."""
        writer.release()
        self.is_led_here = False
        self.notify()

    def is_gone(self) -> bool:
        """Tell whether the files of this spool are no longer there under its name: published, or given up.

        That is so before its record goes as well: who opened it after its leader had moved the data to the blobs has
        an empty file, made in its place.
        """
        return not self._has_data or not is_same_file(self._record.descriptor, self._record_path)

    def is_published(self) -> bool:
        """Tell whether the data file is the blob by now: its leader may have died between publishing and saying so."""
        return is_same_file(self.data.fileno(), self._blob_path)

    async def wait_for_change(self, seen: Progress, *, seconds: float) -> bool:
        """Wait until the record differs from `seen`; False when it did not for so long."""
        self._record.want(self._clock.monotonic())
        self._waiters += 1
        self._watch(seen)
        try:
            async with asyncio.timeout(seconds):
                while self._record.progress() == seen:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters -= 1
        return True

    def is_wanted(self) -> bool:
        """Tell whether a reader, in whatever process, waited for more a moment ago."""
        return 0 <= self._clock.monotonic() - self._record.wanted_at < _WANTED_SECONDS

    def notify(self) -> None:
        """Wake this process's readers: its leader did something."""
        self._changed.set()

    def _watch(self, seen: Progress) -> None:
        """Poll for a leader in another process: one poller per spool and process, while anybody waits."""
        if self.is_led_here or (self._poller is not None and not self._poller.done()):
            return
        self._poller = asyncio.get_running_loop().create_task(self._poll(seen), name=f"poll {self.digest}")

    async def _poll(self, seen: Progress) -> None:
        pause = _FASTEST_POLL_SECONDS
        while self._waiters and not self.is_led_here:
            await asyncio.sleep(pause)
            now = self._record.progress()
            pause = _FASTEST_POLL_SECONDS if now != seen else min(pause * 1.3, _SLOWEST_POLL_SECONDS)
            if now != seen:
                seen = now
                self._changed.set()

    def close(self) -> None:
        """Close both files."""
        if self._poller is not None:
            self._poller.cancel()
        self._record.close()
        self.data.close()


def _identity(repository: str) -> bytes:
    return hashlib.sha256(repository.encode()).digest()


def _open_data(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # verified and about to be a blob: nobody writes it
    with contextlib.suppress(BlockingIOError):  # as a reader of the blob that it becomes: it is not evicted meanwhile
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return os.fdopen(descriptor, "rb", buffering=0)


class Spools:
    """The spools that this process has open, one object per digest however many use it."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._open: dict[Digest, Spool] = {}

    @contextlib.contextmanager
    def use(self, digest: Digest) -> Iterator[Spool]:
        """Use the spool of `digest`, made now if there is none; raises OSError where the disk refuses it."""
        spool = self._open.get(digest)
        if spool is None or spool.is_gone():
            spool = self._open[digest] = Spool(digest, self._layout, self._clock)
        spool.users += 1
        try:
            yield spool
        finally:
            spool.users -= 1
            if not spool.users:
                spool.close()
                if self._open.get(digest) is spool:
                    del self._open[digest]

    def distrust(self, digest: Digest) -> None:
        """Remember for 60 s, at all workers and over restarts, that wrong content was sent under this digest."""
        marker, now = self._marker(digest), self._clock.now()
        marker.touch(0o600)
        os.utime(marker, (now, now))

    def is_distrusted(self, digest: Digest) -> bool:
        """Tell whether somebody may still hold a wrong beginning of this digest, which nobody must complete."""
        try:
            since = self._marker(digest).stat().st_mtime
        except OSError:
            return False  # also where the disk cannot say: it fails no pull
        return abs(self._clock.now() - since) < DISTRUST_SECONDS  # a clock that is set back does not prolong it

    def _marker(self, digest: Digest) -> Path:
        return self._layout.spool_record(digest).with_suffix(".distrusted")

    def expire(self, age_seconds: float) -> int:
        """*Blocking.* Remove what nobody wrote to for so long and nobody leads; return how many spools that were."""
        oldest = self._clock.now() - age_seconds
        stems = {path.with_suffix("") for path in self._layout.spools.iterdir()}
        return sum(_last_written(stem) < oldest and _remove_unless_led(stem) for stem in stems)

    def abandon(self, need: int, idle_seconds: float) -> int:
        """*Blocking.* Remove spools that nobody leads and nobody wrote to for so long, until `need` bytes are free.

        Those that wait longest go first. Returns how many bytes that brought.
        """
        freed = 0
        for stem in self._idle(idle_seconds):
            if freed >= need:
                break
            taken = _taken_bytes(stem)
            freed += taken if _remove_unless_led(stem) else 0
        return freed

    def idle_bytes(self, idle_seconds: float) -> int:
        """*Blocking.* Return how many bytes `abandon` could bring, if nobody leads any of these."""
        return sum(map(_taken_bytes, self._idle(idle_seconds)))

    def _idle(self, idle_seconds: float) -> list[Path]:
        """Return the stems of those to which nobody wrote for so long, the oldest first."""
        newest = self._clock.now() - idle_seconds
        stems = {path.with_suffix("") for path in self._layout.spools.glob("*.data")}
        return [
            stem
            for last_written, stem in sorted((_last_written(stem), stem) for stem in stems)
            if last_written <= newest
        ]


def _taken_bytes(stem: Path) -> int:
    try:
        return stem.with_suffix(".data").stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _files_of(stem: Path) -> list[Path]:
    return [stem.with_suffix(suffix) for suffix in (".data", ".distrusted", ".reserved", ".record")]


def _last_written(stem: Path) -> float:
    moments = [0.0]
    for path in _files_of(stem):
        with contextlib.suppress(FileNotFoundError):
            moments.append(path.stat().st_mtime)
    return max(moments)


def _remove_unless_led(stem: Path) -> bool:
    """Remove a spool's files under the lease, so that no leader loses what it is about to go on with."""
    record = stem.with_suffix(".record")
    descriptor = os.open(record, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not try_lock(descriptor) or not is_same_file(descriptor, record):
            return False
        for path in _files_of(stem):
            path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
