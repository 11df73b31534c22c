"""The only way to detach work from the request that asked for it.

A detached task keeps a reference, logs how it failed, and is cancelled at shutdown; what is nearly done may first
come to its end (`finishing`). `SingleFlight` hands
one task's outcome to everybody who asks while it runs (invariant 5: nothing stays in flight after it ended).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterator
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

_FINISH_SECONDS = 0.5

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


async def run_to_end(work: Callable[..., T], *arguments: Any) -> T:
    """Run a blocking `work` in a thread and wait until it has ended, also when cancelled meanwhile."""
    return await run_to_end_in(None, work, *arguments)


async def run_to_end_in(threads: Executor | None, work: Callable[..., T], *arguments: Any) -> T:
    """Do what `run_to_end` does, in a thread of these (None: of those that all share)."""
    job = asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
    try:
        return await asyncio.shield(job)
    finally:
        while not job.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([job])


class Tasks:
    """The detached tasks of one event loop."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._finishing: set[asyncio.Task[Any]] = set()

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `work` detached from the caller; a failure that nobody awaits is logged, never lost."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def see_through(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` and raise its failure. It goes on if the caller is cancelled; then its failure is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._ended)
            raise

    def detach(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start `work`, whose end nobody waits for."""
        _ = self.spawn(name, work)

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """Say that the current task needs a last moment, which closing gives it before it cancels."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can ask for a last moment")
        self._finishing.add(task)
        try:
            yield
        finally:
            self._finishing.discard(task)

    async def close(self) -> None:
        """Cancel what still runs, or was started meanwhile, and wait for it to end."""
        finishing = self._finishing & self._running
        if finishing:
            await asyncio.wait(finishing, timeout=_FINISH_SECONDS)
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(list(self._running))
            await asyncio.sleep(0)  # for `_ended`

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            logger.error("task failed", extra={"task": task.get_name()}, exc_info=error)


class SingleFlight(Generic[Key, T]):
    """One running task per key, whose outcome all who join share."""

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Task[T]] = {}

    def find(self, key: Key) -> asyncio.Task[T] | None:
        """Return the task that runs for `key`, if one does."""
        return self._running.get(key)

    def start_or_join(self, key: Key, start: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the running task for `key`, started now if there was none.

        Await it through `asyncio.shield`: it belongs to everybody who joined, not to one of them.
        """
        task = self._running.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(start(), name=f"single flight {key!r}")
            self._running[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait for it to end."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _ended(self, key: Key, task: asyncio.Task[T]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # every waiter gets it; when all of them left, nobody needs it
