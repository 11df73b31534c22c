"""Blobs of an upstream: their sizes, and their bytes as they arrive. Nothing is verified here but lengths and ranges.

A blob has no time limit in total: it may take as long as it makes progress.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from proxycache.events import BytesFetched
from proxycache.oci.byte_range import parse_content_range
from proxycache.oci.digest import Digest
from proxycache.oci.names import RepositoryName
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnauthorized, UpstreamUnreachable
from proxycache.upstream.failures import translated_errors
from proxycache.upstream.source import Question, Source

TELL_EVERY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBlob:
    """The bytes of a blob from `start` up to, not with, `stop`; None is the end."""

    repository: RepositoryName
    digest: Digest
    start: int = 0
    stop: int | None = None

    def question(self) -> Question:
        """Return what to ask an upstream."""
        headers = {}
        if self.start or self.stop is not None:
            last = "" if self.stop is None else self.stop - 1
            headers["Range"] = f"bytes={self.start}-{last}"
        return _question(self.repository, self.digest, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedBytes:
    """The bytes that an answer says it holds, and the size of the whole; None is what it does not say."""

    start: int
    stop: int | None
    total: int | None


class UpstreamBlob:
    """An open answer with a blob's bytes.

    `start` is where they begin: 0 if the upstream ignored the range. `total` is the size of the whole blob, None where
    the upstream does not say. `source` is for `avoid`.
    """

    def __init__(self, source: Source, response: aiohttp.ClientResponse, announced: AnnouncedBytes) -> None:
        self.start = announced.start
        self.total = announced.total
        self.source = source.name
        self._upstream = source.upstream
        self._events = source.events
        self._response = response
        self._stop = announced.stop

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive, as far as the answer goes: it may end before what was asked for.

        Raises UpstreamUnreachable when they stall, break off or end before what was announced.
        """
        position = told = self.start
        try:
            with translated_errors(self._upstream):
                async for piece in _arriving(self._response.content):
                    position += len(piece)
                    if self._stop is not None and position > self._stop:
                        raise UpstreamMisbehaved(self._upstream, "sent more bytes than it had announced")
                    if position - told >= TELL_EVERY_BYTES:
                        self._tell(position - told)
                        told = position
                    yield piece
        finally:
            self._tell(position - told)
        if self._stop is not None and position < self._stop:
            raise UpstreamUnreachable(self._upstream, "the answer ended early")

    def _tell(self, size: int) -> None:
        if size:
            self._events.emit(BytesFetched(upstream=self._upstream, size=size))

    def close(self) -> None:
        """Give the connection back, or close it if bytes are still to come."""
        self._response.release()


async def _arriving(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield what arrives, also what came together with the break: who is cut early each time must still get on."""
    try:
        async for piece, _ in content.iter_chunks():  # iter_any would copy what is buffered into one piece
            yield piece
    except (aiohttp.ClientError, OSError):
        content.set_exception(None)  # type: ignore[arg-type] # else it hides the bytes that it still holds
        rest = content.read_nowait()
        if rest:
            yield rest
        raise


async def open_blob(source: Source, wanted: WantedBlob) -> UpstreamBlob:
    """Return the open answer, which the caller closes, once its headers are here and make sense."""
    response = await source.ask(wanted.question())
    try:
        announced = read_announcement(source.upstream, response, wanted)
    except UpstreamMisbehaved:
        response.release()
        raise
    return UpstreamBlob(source, response, announced)


async def head_blob(source: Source, repository: RepositoryName, digest: Digest, *, is_anonymous: bool = False) -> int:
    """Return a blob's size.

    A signed URL is good for GET only, and answers HEAD with 403: then, or where HEAD tells no length, the first byte
    is asked for.
    """
    wanted = WantedBlob(repository=repository, digest=digest, start=0, stop=1)
    question = _question(repository, digest, method="HEAD", accepted=(200,), is_anonymous=is_anonymous)
    with contextlib.suppress(UpstreamUnauthorized, UpstreamMisbehaved):
        async with await source.ask(question) as response:
            if response.content_length is not None:
                return response.content_length
    async with await source.ask(replace(wanted.question(), is_anonymous=is_anonymous)) as response:
        total = read_announcement(source.upstream, response, wanted).total
    if total is None:
        raise UpstreamMisbehaved(source.upstream, "does not tell a blob's size")
    return total


def _question(repository: RepositoryName, digest: Digest, **more: Any) -> Question:
    return Question(kind="blob", repository=repository, path=f"blobs/{digest}", may_be_encoded=True, **more)


def read_announcement(upstream: str, response: aiohttp.ClientResponse, wanted: WantedBlob) -> AnnouncedBytes:
    """Return what the headers announce; raises UpstreamMisbehaved if that contradicts itself or what was wanted."""
    length = response.content_length
    if response.status == 200:
        return AnnouncedBytes(start=0, stop=length, total=length)
    try:
        held = parse_content_range(response.headers.get("Content-Range", ""))
    except ValueError:
        raise UpstreamMisbehaved(upstream, "a partial answer that does not say which part it is") from None
    if held.start != wanted.start or (wanted.stop is not None and held.stop > wanted.stop):
        raise UpstreamMisbehaved(upstream, "a partial answer with another part than was asked for")
    if length is not None and length != held.stop - held.start:
        raise UpstreamMisbehaved(upstream, "a partial answer whose length contradicts its range")
    return AnnouncedBytes(start=held.start, stop=held.stop, total=held.total)
