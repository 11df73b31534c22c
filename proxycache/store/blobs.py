"""Finished content, one read-only file per digest.

A file under `blobs/` is complete, verified and never modified (invariant 1). Who reads it holds a shared lock on it;
who pushes it, on its folder; who removes it takes both exclusively without waiting, or leaves the file alone. A lock
ends with its holder, so a killed process pins nothing. Only this file knows that a blob is a file.

`open`, `has` and `size` are the hot path: a few microseconds each, so they run on the event loop. Everything else
runs in threads.
"""

import asyncio
import fcntl
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.errors import DigestInvalid
from proxycache.store.durable import make_directory, publish_file, sync_directory
from proxycache.store.errors import BlobCorrupt, StoreUnusable
from proxycache.store.layout import Layout
from proxycache.tasks import run_to_end, run_to_end_in

_LOCK_POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBlob:
    """A blob that nobody removes until it is closed; the reader owns it, its file position included."""

    file: BinaryIO
    size: int

    def close(self) -> None:
        """Let the blob go."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class BlobStore:
    """The blobs of one storage directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # Those who wait for a folder may have all other threads, and its remover must still come to its end.
        self._removers = ThreadPoolExecutor(1, thread_name_prefix="remove")

    def open(self, digest: Digest) -> OpenBlob | None:
        """Return the blob, held against removal, or None if it is not here (or just being removed)."""
        path = self._layout.blob(digest)
        with _failures_named(path):
            try:
                file = FileIO(path)
            except FileNotFoundError:
                return None
            if _try_lock(file.fileno(), fcntl.LOCK_SH):
                status = os.fstat(file.fileno())
                if status.st_nlink > 0:  # else it was removed between open and lock
                    return OpenBlob(file=file, size=status.st_size)
            file.close()
            return None

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is here at this moment; to rely on it, open it."""
        return self.size(digest) is not None

    def size(self, digest: Digest) -> int | None:
        """Return how many bytes the blob has, or None if it is not here."""
        path = self._layout.blob(digest)
        with _failures_named(path):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                return None

    def publish(self, digest: Digest, source: Path) -> None:
        """Make the verified file `source` the blob `digest`, durable on return; blocks for the disk.

        `source` lies on the same file system and is gone afterwards. A blob that is here already stays. Nobody holds an
        exclusive lock on `source`: it would go with the file, and `open` would find nothing until it ends.
        """
        target = self._layout.blob(digest)
        with _failures_named(target):
            held = self.open(digest)
            if held is None:
                publish_file(source, target)
                return
            with held:
                sync_directory(target.parent)  # whoever published it may not have come to this step
                source.unlink(missing_ok=True)

    @asynccontextmanager
    async def kept(self, digest: Digest) -> AsyncIterator[None]:
        """Let nobody remove the blob while the block runs, whether it is here yet or not.

        From before content is published until its row is there: else who decided to remove an old copy could take
        the new one.
        """
        folder = await run_to_end(self._open_folder, digest)
        try:
            while not _try_lock(folder, fcntl.LOCK_SH):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(_LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(folder)

    def _open_folder(self, digest: Digest) -> int:
        folder = self._layout.blob(digest).parent
        with _failures_named(folder):
            return _open_folder(folder)

    @contextmanager
    def keeping(self, digest: Digest) -> Iterator[None]:
        """*Blocking.* Do what `kept` does."""
        folder = self._open_folder(digest)
        try:
            fcntl.flock(folder, fcntl.LOCK_SH)
            yield
        finally:
            os.close(folder)

    async def put(self, digest: Digest, content: bytes) -> None:
        """Publish `content`, which is small; raises BlobCorrupt if it is not what `digest` names."""
        await asyncio.to_thread(self._put, digest, content)

    async def remove(self, digest: Digest, is_leaving: Callable[[Digest], Awaitable[bool]]) -> bool:
        """Remove the blob and return whether it is gone; one that somebody reads or pushes is left alone.

        `is_leaving` tells whether it is still to go. It is asked when nobody can push the blob any more: since that
        was decided, it may have been pushed.
        """
        path = self._layout.blob(digest)
        locks = await run_to_end_in(self._removers, self._lock_to_remove, path)
        if locks is None:
            return False
        with locks, _failures_named(path):
            if not await is_leaving(digest):
                return False
            await run_to_end_in(self._removers, functools.partial(path.unlink, missing_ok=True))
            return True

    async def iterate(self) -> AsyncIterator[Digest]:
        """Yield the digest of every blob, in no order; what is published or removed meanwhile may be missed or seen."""
        for directory in await asyncio.to_thread(lambda: list(self._layout.blobs.glob("*/??/"))):
            for digest in await asyncio.to_thread(_digests_in, directory):
                yield digest

    def _put(self, digest: Digest, content: bytes) -> None:
        content_hash = digest.new_hash()
        content_hash.update(content)
        if not digest.matches(content_hash):
            raise BlobCorrupt(digest)
        source = self._layout.new_spool()
        with _failures_named(source):
            try:
                source.write_bytes(content)
                self.publish(digest, source)
            finally:
                source.unlink(missing_ok=True)

    def _lock_to_remove(self, path: Path) -> ExitStack | None:
        """Return the locks that keep readers and publishers out, or None where there are some.

        Publishers are kept out of where there is no file, too: theirs must not be the one that is removed.
        """
        with _failures_named(path), ExitStack() as locks:
            folder = _open_folder(path.parent)
            locks.callback(os.close, folder)
            if not _try_lock(folder, fcntl.LOCK_EX):
                return None
            try:
                file = locks.enter_context(FileIO(path))
            except FileNotFoundError:
                return locks.pop_all()
            if _try_lock(file.fileno(), fcntl.LOCK_EX):
                return locks.pop_all()
        return None


def _open_folder(folder: Path) -> int:
    make_directory(folder)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _digests_in(directory: Path) -> list[Digest]:
    with _failures_named(directory):
        names = os.listdir(directory)  # noqa: PTH208 - names only, without a Path for each
    found = []
    for name in names:
        try:
            found.append(parse_digest(f"{directory.parent.name}:{name}"))
        except DigestInvalid:
            continue  # somebody else's file
    return found


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """Say which file it was when the system refuses: a full table of open files, a failing disk, a wrong owner."""
    try:
        yield
    except OSError as error:
        raise StoreUnusable(path, error.strerror or str(error)) from error
