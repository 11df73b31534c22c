"""The only place that asks what time it is, so that tests can say it instead."""

import time
from typing import Protocol


class Clock(Protocol):
    """Time as two numbers: one for people and rows, one for durations."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC; it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, the same for all processes of this boot."""
        ...

    def local_hour(self) -> int:
        """Return the hour of the local day, 0 to 23."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC."""
        return time.time()  # noqa: TID251 - the one place

    def monotonic(self) -> float:
        """Return CLOCK_MONOTONIC, which all processes of one boot share."""
        return time.monotonic()

    def local_hour(self) -> int:
        """Return the hour of the local day, 0 to 23."""
        return time.localtime().tm_hour
