"""Events that tests and a fake in another thread can both wait for."""

import asyncio
import threading


class Signal:
    """An event that may be set, and waited for, in any thread or event loop; once set it stays set."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        with self._lock:
            self._event.set()
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def wait(self) -> None:
        """Wait in an event loop."""
        event = asyncio.Event()
        with self._lock:
            if self._event.is_set():
                return
            self._waiters.append((asyncio.get_running_loop(), event))
        await event.wait()

    def wait_blocking(self, seconds: float = 10.0) -> None:
        """Wait in a thread without an event loop; TimeoutError if it takes too long."""
        if not self._event.wait(seconds):
            raise TimeoutError


class Gate:
    """A place where the fake stops: `arrived` says that somebody stands there, `open()` lets everybody pass."""

    def __init__(self) -> None:
        self.arrived = Signal()
        self._opened = Signal()

    def open(self) -> None:
        self._opened.set()

    async def pass_through(self) -> None:
        self.arrived.set()
        await self._opened.wait()
