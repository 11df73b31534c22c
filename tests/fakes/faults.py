"""What can go wrong with an answer, and which requests it happens to.

    registry.faults.add(cut(at=1000), on=digest)                      the next request for it is cut at byte 1000
    registry.faults.add(answer(503), on="/manifests/", times=None)    until removed, each manifest request gets 503

Places are given as `at` (an offset in the content, so that a resume that starts behind it passes) or as `after`
(bytes of one answer, so that each resume gets a little further). Several faults may hit one request: each sets
what it is about.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from tests.fakes.signals import Gate


class Pacer:
    """A line of limited bandwidth, shared by all answers that use it."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + size / self.bytes_per_second
        await asyncio.sleep(self._free_at - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in an answer something happens: an offset of the content, or a number of bytes of this answer."""

    at: int | None = None
    after: int | None = None

    def in_answer(self, start: int) -> int:
        """Return how many bytes of an answer that begins at `start` come before it; may be negative: already passed."""
        if self.after is not None:
            return self.after
        return (self.at or 0) - start


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """All that may be wrong with one answer; what is None is right."""

    hold: Gate | None = None  # before the status line
    delay: float | None = None  # seconds before the status line
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()  # headers to leave out
    body: bytes | None = None
    cut: Place | None = None
    reset: Place | None = None
    stall: tuple[Place, Gate] | None = None
    wrong_byte: int | None = None
    length_off_by: int | None = None
    no_length: bool | None = None
    range_ignored: bool | None = None
    pacer: Pacer | None = None

    def combined_with(self, other: "Fault") -> "Fault":
        """Return both; where both say something, `other` wins."""
        said: dict[str, Any] = {
            each.name: value for each in fields(other) if (value := getattr(other, each.name)) not in (None, (), {})
        }
        if other.headers:
            said["headers"] = {**self.headers, **other.headers}
        return replace(self, **said)


def cut(*, at: int | None = None, after: int | None = None) -> Fault:
    """End the connection in order (FIN) there, though more was promised."""
    return Fault(cut=Place(at=at, after=after))


def reset(*, at: int | None = None, after: int | None = None) -> Fault:
    """Reset the connection (RST) there."""
    return Fault(reset=Place(at=at, after=after))


def stall(gate: Gate | None = None, *, at: int | None = None, after: int | None = None) -> Fault:
    """Send nothing more from there on until the gate opens; without a gate, never."""
    return Fault(stall=(Place(at=at, after=after), gate or Gate()))


def wrong_byte(at: int) -> Fault:
    """Flip the bits of one byte of the content."""
    return Fault(wrong_byte=at)


def wrong_length(by: int) -> Fault:
    """Declare a Content-Length that is off; what is promised too much never comes, what is too much is not sent."""
    return Fault(length_off_by=by)


def no_length() -> Fault:
    """Send the body chunked, without a Content-Length."""
    return Fault(no_length=True)


def range_ignored() -> Fault:
    """Answer 200 with everything, whatever Range was asked for."""
    return Fault(range_ignored=True)


def slow_headers(gate: Gate | None = None, *, seconds: float | None = None) -> Fault:
    """Send no status line until the gate opens or the seconds have passed."""
    return Fault(hold=gate, delay=seconds)


def never_answer() -> Fault:
    """Take the request and say nothing."""
    return Fault(hold=Gate())


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer this instead; header names are written with underscores."""
    return Fault(status=status, body=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


def rate_limited(retry_after: str | None = None) -> Fault:
    """Answer 429, with or without a Retry-After (seconds or a date)."""
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}'
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Fault(status=429, body=body, headers=headers)


def without_header(*names: str) -> Fault:
    """Leave these headers out, for instance Docker-Content-Digest."""
    return Fault(without=names)


def bandwidth(bytes_per_second: float) -> Fault:
    """Send no faster than this, all answers that the rule hits together."""
    return Fault(pacer=Pacer(bytes_per_second))


@dataclass(slots=True, kw_only=True)
class Rule:
    """A fault, and the requests that it hits."""

    fault: Fault
    method: str
    on: str
    left: int | None
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.left != 0 and self.method in ("", method) and self.on in path


class Faults:
    """The rules of one listener; they may be changed from any thread."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault, *, on: str = "", method: str = "", times: int | None = 1) -> Rule:
        """Let `fault` happen to the next `times` requests (None: to all) whose path contains `on`."""
        rule = Rule(fault=fault, method=method, on=on, left=times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        with self._lock:
            self._rules.remove(rule)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def take(self, method: str, path: str) -> Fault:
        """Return what happens to this request, and count it."""
        fault = Fault()
        with self._lock:
            for rule in self._rules:
                if rule.matches(method, path):
                    rule.hits += 1
                    rule.left = None if rule.left is None else rule.left - 1
                    fault = fault.combined_with(rule.fault)
        return fault
