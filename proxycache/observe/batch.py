"""Work that is put off, so that many requests share one run of it."""

import asyncio
from collections.abc import Callable


class Batch:
    """Runs `flush` once, `delay_seconds` after the first `touch` since it last ran; idle, it costs nothing."""

    def __init__(self, delay_seconds: float, flush: Callable[[], None]) -> None:
        self._delay_seconds = delay_seconds
        self._flush = flush
        self._timer: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Have what is there flushed before long."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay_seconds, self.run)

    def run(self) -> None:
        """Flush now instead of later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flush()
