"""What a worker gets from its supervisor, and how the two talk.

Signals are blocked in a fresh worker, and wait until it has said what to do on them, so none is lost.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from proxycache.config.load import LoadedSettings

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
READY = 0  # no signal has this number

LoadAgain = Callable[[], LoadedSettings]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker gets from the supervisor, and how it answers."""

    loaded: LoadedSettings
    sockets: Sequence[socket.socket]
    load_again: LoadAgain
    """Reads the configuration anew, as after SIGHUP; raises ConfigError. What needs a restart stays as it was."""
    lifeline: int
    inbox: int

    def obey(self, *, drain: Callable[[], None], reload: Callable[[], None]) -> None:
        """From now on call `drain`, maybe more than once, and `reload` when signals or the supervisor's end say so."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, drain)
        loop.add_signal_handler(signal.SIGHUP, reload)
        loop.add_reader(self.lifeline, self._supervisor_ended, drain)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def report_ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        with contextlib.suppress(OSError):  # it may have ended; the lifeline tells
            os.write(self.inbox, bytes([READY]))

    def _supervisor_ended(self, drain: Callable[[], None]) -> None:
        asyncio.get_running_loop().remove_reader(self.lifeline)
        logger.error("supervisor ended")
        drain()


Worker = Callable[[Assignment], Coroutine[Any, Any, None]]
