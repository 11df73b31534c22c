"""One line per request, made and written outside of the request: many at once, in one go."""

import contextlib
import json
import os
import select
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from proxycache.observe.batch import Batch
from proxycache.observe.logs import format_time, quote_fact
from proxycache.observe.settings import LogSettings

FLUSH_SECONDS = 0.25
FLUSH_ENTRIES = 64


class AccessEntry(NamedTuple):
    """The facts of one request. `target` is the request's as it came; what is secret in it is not written."""

    at: float
    remote: str
    method: str
    target: str
    status: int
    sent_bytes: int
    seconds: float
    cache: str
    user_agent: str


class AccessLog:
    """Writes entries soon after they are recorded; nothing where the log's level is above info."""

    def __init__(self, settings: LogSettings, *, descriptor: int | None = None) -> None:
        self._is_on = settings.level in ("debug", "info")
        self._format = format_json if settings.format == "json" else format_text
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        self._entries: list[AccessEntry] = []
        self._batch = Batch(FLUSH_SECONDS, self._flush)

    def record(self, entry: AccessEntry) -> None:
        """Have the entry written before long."""
        if not self._is_on:
            return
        self._entries.append(entry)
        if len(self._entries) < FLUSH_ENTRIES:
            self._batch.touch()
        else:
            self._batch.run()

    def close(self) -> None:
        """Write what is left."""
        self._batch.run()

    def _flush(self) -> None:
        entries, self._entries = self._entries, []
        with contextlib.suppress(OSError):  # who reads the log has gone; requests go on
            for piece in whole_lines(map(self._format, entries)):
                os.write(self._descriptor, piece)


def format_text(entry: AccessEntry) -> str:
    """Return the line as `logs.TextFormatter` writes a record."""
    return (
        f"{format_time(entry.at)} INFO request remote={quote_fact(entry.remote)} method={quote_fact(entry.method)} "
        f"path={quote_fact(visible_path(entry.target))} status={entry.status} bytes={entry.sent_bytes} "
        f"seconds={entry.seconds:.4f} cache={entry.cache or '-'} user_agent={quote_fact(entry.user_agent)}\n"
    )


def format_json(entry: AccessEntry) -> str:
    """Return the line as `logs.JsonFormatter` writes a record."""
    facts = {
        "time": format_time(entry.at),
        "level": "info",
        "event": "request",
        "remote": entry.remote,
        "method": entry.method,
        "path": visible_path(entry.target),
        "status": entry.status,
        "bytes": entry.sent_bytes,
        "seconds": round(entry.seconds, 4),
        "cache": entry.cache,
        "user_agent": entry.user_agent,
    }
    return json.dumps(facts) + "\n"


def visible_path(target: str) -> str:
    """Return the path, and of the query only which registry was meant."""
    path, _, query = target.partition("?")
    namespace = next((field for field in query.split("&") if field.startswith("ns=")), "") if query else ""
    return f"{path}?{namespace}" if namespace else path


def whole_lines(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield the lines in pieces that a pipe takes at once, so that workers do not tear each other's lines."""
    piece = b""
    for line in lines:
        encoded = line.encode()
        if piece and len(piece) + len(encoded) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += encoded
    if piece:
        yield piece
