"""From the event loop to the disk: pieces are hashed and written off the loop, in order, a few ahead at most.

A large fill gets a thread of its own while one of a bounded number is free; every other one hands its pieces to the
shared executor one by one, so that fills which stall on the network keep no thread from anybody.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence

_OWN_THREADS = 8
_PIECES_AHEAD = 4

Append = Callable[[Sequence[bytes]], None]


class Pump:
    """Pieces of one fill on their way to disk through the shared executor, one under way at a time."""

    def __init__(self, append: Append, appended: Callable[[], None]) -> None:
        self._append = append
        self._appended = appended
        self._job: asyncio.Future[None] | None = None

    async def write(self, piece: bytes) -> None:
        """Hand `piece` over, once the one before it is done; raises what writing that one raised."""
        await self.drain()
        self._job = asyncio.get_running_loop().run_in_executor(None, self._append, (piece,))
        self._job.add_done_callback(lambda _: self._appended())

    async def drain(self) -> None:
        """Wait until everything is written; raises what writing it raised."""
        job = self._job
        if job is not None:
            await asyncio.shield(job)
            self._job = None

    async def close(self) -> None:
        """Wait until no write is under way; never raises."""
        if self._job is not None:
            await asyncio.wait([self._job])
            if not self._job.cancelled():
                self._job.exception()


class ThreadPump:
    """Pieces of one fill on their way to disk through a thread of its own."""

    def __init__(self, append: Append, appended: Callable[[], None]) -> None:
        self._append = append
        self._appended = appended
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_PIECES_AHEAD)
        self._ahead = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = self._loop.create_future()
        self._error: OSError | None = None
        threading.Thread(target=self._run, name="fill", daemon=True).start()

    async def write(self, piece: bytes) -> None:
        """Hand `piece` over, once few enough are ahead of it; raises what writing an earlier one raised."""
        await self._room.acquire()
        if self._error is not None:
            raise self._error
        self._ahead += 1
        self._idle.clear()
        self._queue.put(piece)

    async def drain(self) -> None:
        """Wait until everything is written; raises what writing it raised."""
        await self._idle.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Wait until the thread has ended; never raises."""
        self._queue.put(None)
        await self._ended

    def _run(self) -> None:
        has_ended = False
        while not has_ended:
            pieces, has_ended = self._take()
            if pieces:
                self._write(pieces)
                self._loop.call_soon_threadsafe(self._done, len(pieces))
        self._loop.call_soon_threadsafe(self._ended.set_result, None)

    def _take(self) -> tuple[list[bytes], bool]:
        """Wait for a piece and take with it what has queued up behind it; tell whether it was the last."""
        pieces: list[bytes] = []
        piece = self._queue.get()
        while piece is not None:
            pieces.append(piece)
            if self._queue.empty():
                return pieces, False
            piece = self._queue.get()
        return pieces, True

    def _write(self, pieces: Sequence[bytes]) -> None:
        if self._error is None:
            try:
                self._append(pieces)
            except OSError as error:
                self._error = error

    def _done(self, count: int) -> None:
        self._ahead -= count
        if not self._ahead:
            self._idle.set()
        for _ in range(count):
            self._room.release()
        self._appended()


class Pumps:
    """Lends out pumps: a thread of its own to a large fill while there are some, else the shared executor."""

    def __init__(self) -> None:
        self._threads_free = _OWN_THREADS

    @contextlib.asynccontextmanager
    async def open(
        self, append: Append, appended: Callable[[], None], *, is_large: bool
    ) -> AsyncIterator[Pump | ThreadPump]:
        """Pump pieces to `append`; on leaving, also by cancellation, no write is under way any more."""
        own_thread = is_large and self._threads_free > 0
        self._threads_free -= own_thread
        pump = ThreadPump(append, appended) if own_thread else Pump(append, appended)
        try:
            yield pump
        finally:
            closing = asyncio.get_running_loop().create_task(pump.close())
            while not closing.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(closing)
            self._threads_free += own_thread
