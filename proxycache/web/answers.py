"""Answers that are ready to be sent: header bytes prepared once, small bodies in a bounded memory.

Only what anybody may have is remembered, by the exact target that was asked for. A remembered answer counts until a
process takes something back (invariant 11: `revocations`), a tag's no longer than it is fresh, and none longer than
until the upstream is to be asked again who may read the repository.
"""

import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from proxycache.oci.digest import Digest
from proxycache.oci.errors import UpstreamFailed

MOST_BYTES = 32 * 1024 * 1024
LARGEST_BODY_BYTES = 128 * 1024
_ENTRY_OVERHEAD_BYTES = 1024
_TARGET = re.compile(r"[^?]*(\?ns=[^&]*)?")  # what else clients write into a query makes no other answer
_NO_HEADER_VALUE = re.compile(r"[^\t -~\x80-\xff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyAnswer:
    """A whole answer but for its Date. `fresh_until` is epoch seconds.

    `revocations`: how many there were when it was true.
    """

    status: int
    head: bytes
    body: bytes
    kind: str
    revocations: int
    fresh_until: float
    digest: Digest

    @property
    def cost(self) -> int:
        """How many bytes of memory it takes without its key, about."""
        return len(self.head) + len(self.body) + _ENTRY_OVERHEAD_BYTES


class AnswerMemory:
    """The answers last used, by method and target, up to a number of bytes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._answers: OrderedDict[tuple[str, str, str], ReadyAnswer] = OrderedDict()

    def find(
        self, key: tuple[str, str, str], revocations: Callable[[], int], now: Callable[[], float]
    ) -> ReadyAnswer | None:
        """Return the answer to `key` if it still counts."""
        answer = self._answers.get(key)
        if answer is None:
            return None
        if answer.revocations != revocations() or answer.fresh_until <= now():
            self._forget(key)
            return None
        self._answers.move_to_end(key)
        return answer

    def remember(self, key: tuple[str, str, str], answer: ReadyAnswer) -> None:
        """Keep `answer`, in place of those that were not used for longest; not for a target with a query of its own."""
        self._forget(key)
        if _TARGET.fullmatch(key[1]) is None:
            return
        self._answers[key] = answer
        self._bytes += _cost(key, answer)
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._answers)))

    def _forget(self, key: tuple[str, str, str]) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= _cost(key, answer)


def _cost(key: tuple[str, str, str], answer: ReadyAnswer) -> int:
    return answer.cost + sum(map(sys.getsizeof, key))


def prepare_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the header bytes of an answer, up to where its Date goes.

    Raises UpstreamFailed for a value that would be more than one header: what is not from us is from an upstream.
    """
    for name, value in headers.items():
        if _NO_HEADER_VALUE.search(value):
            raise UpstreamFailed(f"the upstream gave {value[:100]!a}, which cannot be sent as {name}", status=502)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n"


class _DateLine:
    """The Date header and the end of the headers, made anew once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def __call__(self) -> bytes:
        second = int(time.time())  # noqa: TID251 - a header about this machine's clock, not a decision
        if second != self._second:
            self._second = second
            self._line = f"{hdrs.DATE}: {formatdate(second, usegmt=True)}\r\n\r\n".encode()
        return self._line


_date_line = _DateLine()


class NoResponse(web.StreamResponse):
    """Sends nothing: the connection has ended, or was cut. aiohttp would log an error raised here as one of its own."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection goes on."""
        return False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing."""


class ReadyResponse(web.StreamResponse):
    """Sends a ready answer in one write, past everything that aiohttp does for answers it does not know."""

    def __init__(self, answer: ReadyAnswer) -> None:
        super().__init__()
        self._answer = answer
        self._stays_open = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection goes on."""
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it."""
        self._stays_open = bool(request.keep_alive)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        transport.write(b"".join((self._answer.head, _date_line(), self._answer.body)))
        if transport.get_write_buffer_size():
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: all of it was sent."""
