"""Counts requests where each microsecond matters: in plain integers, taken away twice a second."""

from collections.abc import Callable
from typing import NamedTuple

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class RequestClass(NamedTuple):
    """What is counted together. `cache` is empty where the cache had no part in the answer."""

    kind: str
    method: str
    status: int
    cache: str

    @property
    def is_hit(self) -> bool:
        """Tell whether the answer was held; what is stale was."""
        return self.cache in ("hit", "stale")


class Tally:
    """How many requests of one class, and the body bytes that they were sent."""

    __slots__ = ("requests", "sent_bytes")

    def __init__(self) -> None:
        self.requests = 0
        self.sent_bytes = 0


class RequestMeter:
    """Each request begins once and is counted once, when its answer has ended, however it ended."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.in_flight = 0
        self._changed = changed
        self._tallies: dict[RequestClass, Tally] = {}

    def begin(self) -> None:
        """A request came in."""
        self.in_flight += 1
        self._changed()

    def count(self, kind: str, method: str, status: int, sent_bytes: int, cache: str) -> None:
        """Count an answered request; `kind` and `cache` are out of small sets (manifest, tag, …; hit, miss, …)."""
        self.in_flight -= 1
        key = RequestClass(kind, method if method in METHODS else "other", status, cache)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        tally.requests += 1
        tally.sent_bytes += sent_bytes
        self._changed()

    def take(self) -> dict[RequestClass, Tally]:
        """Return what was counted since this was last asked."""
        taken, self._tallies = self._tallies, {}
        return taken
