"""Blobs that clients push, in one request or in many; a blob that was acknowledged is durable (invariant 6).

What comes is hashed and written while it comes. What came stays, whatever ends the request, until the digest is known
and does not agree. The end of a push belongs to the registry: a client that leaves does not stop it.
"""

import contextlib
import errno
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.events import BlobPushed, Events
from proxycache.oci.digest import Digest
from proxycache.oci.errors import BlobUploadInvalid, DigestInvalid, SizeInvalid, StorageFull
from proxycache.oci.upload_session import judge_body
from proxycache.registry.access import LocalRepository
from proxycache.registry.make_room import RoomMaker
from proxycache.registry.record import Recorder
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreUnusable
from proxycache.store.held_upload import HeldUpload
from proxycache.store.local_content import LocalContent
from proxycache.store.pump import Pumps
from proxycache.store.uploads import Uploads
from proxycache.tasks import Tasks, run_to_end

_SMALL_BYTES = 128 * 1024  # so much of a body may wait in memory to go to the disk in one step
_LARGE_BYTES = 1024 * 1024
_STEP_BYTES = 16 * 1024 * 1024
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadServices:
    """What every push of a blob needs."""

    uploads: Uploads
    blobs: BlobStore
    pumps: Pumps
    recorder: Recorder
    room: RoomMaker
    local: LocalContent
    events: Events
    clock: Clock
    tasks: Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request sends: pieces that come, and what it says of them (`size`: Content-Length, if it has one)."""

    pieces: AsyncIterator[bytes]
    size: int | None
    content_range: str | None = None


class BlobPusher:
    """Takes in what clients push. Every method raises a RegistryError or a StoreError."""

    def __init__(self, services: UploadServices) -> None:
        self._services = services

    async def start(self, repository: LocalRepository, algorithm: str) -> str:
        """Begin a session and return its id; the bytes are hashed by `algorithm` while they come."""
        with self._disk_failures_told():
            return await self._services.uploads.start(repository.name, algorithm)

    async def find_offset(self, repository: LocalRepository, session: str) -> int:
        """Return how many bytes of the session are here; while a request writes to it, some more may be."""
        with self._disk_failures_told():
            record = await self._services.uploads.find(session, repository.name)
        return record.offset

    async def append(self, repository: LocalRepository, session: str, body: Body) -> int:
        """Append what comes, and return the offset behind it."""
        with self._disk_failures_told():
            async with self._services.uploads.hold(session, repository.name) as upload:
                await self._receive(upload, body, upload.record.algorithm)
                return upload.offset

    async def cancel(self, repository: LocalRepository, session: str) -> None:
        """Forget the session and its bytes."""
        with self._disk_failures_told():
            async with self._services.uploads.hold(session, repository.name) as upload:
                await run_to_end(upload.discard)

    async def finish(self, repository: LocalRepository, session: str, digest: Digest, body: Body | None) -> None:
        """Append what comes, verify all, and let the repository serve it: durable on return.

        Raises DigestInvalid where the bytes are others; then nothing of the session is kept. Once they are verified, a
        StoreError loses nothing: the same request ends well when it is repeated, and what it sends is not needed.
        """
        with self._disk_failures_told():
            async with contextlib.AsyncExitStack() as holding:
                upload = await holding.enter_async_context(self._services.uploads.hold(session, repository.name))
                if body is not None and not upload.record.is_verified:
                    await self._receive(upload, body, digest.algorithm)
                await self._keep(upload, digest, holding)

    async def push_whole(self, repository: LocalRepository, digest: Digest, body: Body) -> None:
        """Take a whole blob in one request; nothing is kept unless all of it comes and agrees with the digest."""
        uploads = self._services.uploads
        with self._disk_failures_told():
            session = await uploads.start(repository.name, digest.algorithm)
            async with contextlib.AsyncExitStack() as holding:
                upload = await holding.enter_async_context(uploads.hold(session, repository.name))
                holding.push_async_callback(run_to_end, upload.discard)
                await self._receive(upload, body, digest.algorithm)
                await self._keep(upload, digest, holding)

    async def _receive(self, upload: HeldUpload, body: Body, algorithm: str) -> None:
        """Write what comes. What came counts, also if the request is cut or the disk refuses the rest."""
        if upload.record.is_verified:
            raise BlobUploadInvalid("all of it is here, and only a PUT with its digest can end it")
        expected = judge_body(upload.offset, body.content_range, body.size)
        pieces = _bounded(body.pieces, expected)
        room = _Room(self._services.room, expected)
        start: list[bytes] = []
        try:
            is_all = (expected is None or expected <= _SMALL_BYTES) and await _gather(pieces, start)
        except BaseException:
            await self._append_small(upload, algorithm, start, room)
            raise
        if is_all:
            await self._append_small(upload, algorithm, start, room)
            return
        await run_to_end(upload.begin, algorithm)
        is_large = expected is None or expected > _LARGE_BYTES
        try:
            async with self._services.pumps.open(upload.append, lambda: None, is_large=is_large) as pump:
                async for piece in _chained(start, pieces):
                    await room.take(len(piece))
                    await pump.write(piece)
                await pump.drain()
        finally:
            await run_to_end(upload.save)

    async def _append_small(self, upload: HeldUpload, algorithm: str, pieces: Sequence[bytes], room: "_Room") -> None:
        await room.take(sum(map(len, pieces)))
        await run_to_end(upload.append_all, algorithm, pieces)

    async def _keep(self, upload: HeldUpload, digest: Digest, holding: contextlib.AsyncExitStack) -> None:
        """Verify and publish; `holding` is what ends with that."""
        matches = upload.matches_known(digest)
        if matches is None:
            matches = await run_to_end(upload.matches, digest)
        if not matches:
            await run_to_end(upload.discard)
            raise DigestInvalid(str(digest), "the content that was sent does not have the digest")
        publishing = self._publish(upload, digest, holding.pop_all())
        await self._services.tasks.see_through(f"publish {digest}", publishing)

    async def _publish(self, upload: HeldUpload, digest: Digest, holding: contextlib.AsyncExitStack) -> None:
        """Files before rows (invariant 2): what is killed in between leaves a file that nobody may have.

        The session goes last. If there can be no row now, its record is what another request ends the push with.
        """
        services, record, size = self._services, upload.record, upload.offset
        async with holding:
            with services.tasks.finishing():
                async with services.recorder.publishing(digest):
                    with await run_to_end(_publish_kept, upload, digest, services.blobs):
                        await services.local.link_blob(record.repository, digest, size, now=services.clock.now())
                await run_to_end(upload.discard)
        seconds = services.clock.now() - record.started_at
        services.events.emit(BlobPushed(repository=record.repository, digest=str(digest), size=size, seconds=seconds))

    @contextlib.contextmanager
    def _disk_failures_told(self) -> Iterator[None]:
        """Say what the disk refused; that the client has left is something else."""
        try:
            yield
        except ConnectionError:
            raise
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise StorageFull from error
            raise StoreUnusable(self._services.uploads.directory, error.strerror or str(error)) from error


def _publish_kept(upload: HeldUpload, digest: Digest, blobs: BlobStore) -> contextlib.ExitStack:
    """*Blocking.* Publish, and return what keeps the blob here until its row is."""
    with contextlib.ExitStack() as keeping:
        keeping.enter_context(blobs.keeping(digest))
        upload.publish(digest, blobs)
        return keeping.pop_all()


async def _bounded(pieces: AsyncIterator[bytes], expected: int | None) -> AsyncIterator[bytes]:
    """Yield `pieces`; raises SizeInvalid if that is not as much as `expected` (None: whatever it is)."""
    received = 0
    async for piece in pieces:
        received += len(piece)
        if expected is not None and received > expected:
            raise SizeInvalid(expected, received)
        yield piece
    if expected is not None and received < expected:
        raise SizeInvalid(expected, received)


async def _gather(pieces: AsyncIterator[bytes], start: list[bytes]) -> bool:
    """Add to `start` what comes first, and tell whether it is all: one step to the disk will do for a small body."""
    size = 0
    async for piece in pieces:
        start.append(piece)
        size += len(piece)
        if size > _SMALL_BYTES:
            return False
    return True


async def _chained(start: Sequence[bytes], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in start:
        yield piece
    async for piece in pieces:
        yield piece


class _Room:
    """Asks for room on the disk before it is taken, for many pieces at a time."""

    def __init__(self, room: RoomMaker, expected: int | None) -> None:
        self._room = room
        self._expected = expected
        self._granted = 0

    async def take(self, size: int) -> None:
        """Take room for a piece; raises StorageFull where there is none to be had."""
        if size > self._granted:
            await self._ask(size)
        self._granted -= size
        if self._expected is not None:
            self._expected -= size

    async def _ask(self, size: int) -> None:
        step = _STEP_BYTES if self._expected is None else min(_STEP_BYTES, self._expected)
        for need in (max(size, step), size):  # the last bytes of the disk are taken one piece at a time
            if await self._room.free_disk(need):
                self._granted = need
                return
        raise StorageFull
