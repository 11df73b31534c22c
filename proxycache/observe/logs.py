"""Log records on stderr, one line each, as text or JSON.

A record's message is a constant event name and its facts come in `extra`. A traceback is written only for an
error that nobody foresaw; our own errors explain themselves in one line. Secrets never reach a record: `Secret`
shows itself as `***`, and URLs are redacted where they are made.
"""

import functools
import json
import logging
import re
import sys
import time
from typing import Any, TextIO

from proxycache.events import (
    BlobPushed,
    Event,
    FillEnded,
    ImagePushed,
    RateLimitSeen,
    RecompressedLayer,
    TokenRequested,
    UpstreamAnswered,
)
from proxycache.observe.settings import LogSettings

logger = logging.getLogger(__name__)

PLAIN = re.compile("[!#-~]+")
RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(
    settings: LogSettings, *, foreseen: tuple[type[Exception], ...] = (), stream: TextIO | None = None
) -> None:
    """Send every record of this process to `stream` (stderr), replacing what was set up before.

    Errors of the types `foreseen` are logged as their text, without a traceback.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(foreseen) if settings.format == "json" else TextFormatter(foreseen))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())


def log_event(event: Event) -> None:
    """Log what happened: a line for each fill, details for who looks closer; subscribe it to `Events`."""
    match event:
        case FillEnded(outcome="passed_through"):
            pass  # who cannot keep a blob says so, with the reason, and not at each pull of it
        case FillEnded():
            level = logging.INFO if event.outcome == "published" else logging.WARNING
            logger.log(level, "fill ended", extra=_facts_of(event))
        case BlobPushed():
            logger.info("blob pushed", extra=_facts_of(event))
        case ImagePushed():
            _log_image(event)
        case TokenRequested(outcome="granted") | UpstreamAnswered() | RateLimitSeen():
            logger.debug(_event_name(event), extra=_facts_of(event))
        case TokenRequested():
            logger.warning("token requested", extra=_facts_of(event))
        case _:
            pass  # a piece of a body or one more follower is counted, not told


class LineFormatter(logging.Formatter):
    """What both formats share: which facts a record has and whether its error needs a traceback."""

    def __init__(self, foreseen: tuple[type[Exception], ...] = ()) -> None:
        super().__init__()
        self._foreseen = foreseen

    def facts(self, record: logging.LogRecord) -> dict[str, object]:
        """Return what came as `extra`, and the error's text."""
        facts = {key: value for key, value in vars(record).items() if key not in RECORD_ATTRIBUTES}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            facts.setdefault("error", str(error) or type(error).__name__)
        return facts

    def traceback(self, record: logging.LogRecord) -> str:
        """Return the traceback of an error that nobody foresaw, else nothing."""
        if not record.exc_info or isinstance(record.exc_info[1], self._foreseen):
            return ""
        return self.formatException(record.exc_info)


class TextFormatter(LineFormatter):
    """`2026-01-31T12:00:00.000Z INFO fill ended upstream=docker.io seconds=0.31`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback below it if nobody foresaw the error."""
        facts = "".join(f" {key}={quote_fact(value)}" for key, value in self.facts(record).items())
        line = f"{format_time(record.created)} {record.levelname} {_one_line(record.getMessage())}{facts}"
        traceback = self.traceback(record)
        return f"{line}\n{traceback}" if traceback else line


class JsonFormatter(LineFormatter):
    """One JSON object a line: time, level, logger, event, then the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object on one line."""
        entry: dict[str, object] = {
            "time": format_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        traceback = self.traceback(record)
        if traceback:
            entry["traceback"] = traceback
        return json.dumps(entry | self.facts(record), default=str)


def format_time(at: float) -> str:
    """Return `at` in UTC with milliseconds, as RFC 3339 writes it."""
    milliseconds = int(at * 1000)
    return f"{_format_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def quote_fact(value: object) -> str:
    """Return `value` as it is where nothing in it could be mistaken for something else, else as JSON quotes it."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)


@functools.lru_cache(maxsize=4)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _log_image(event: ImagePushed) -> None:
    facts = _facts_of(event)
    facts["could_have_borrowed_bytes"] = sum(layer.size for layer in facts.pop("could_have_borrowed"))
    logger.info("image pushed", extra=facts)
    for layer in event.could_have_borrowed:
        facts = {"repository": event.repository, "digest": layer.digest, "bytes": layer.size, "why": _why_sent(layer)}
        logger.info("layer could have been borrowed", extra=facts)


def _why_sent(layer: RecompressedLayer) -> str:
    content = f"it has the content of {layer.known_as} of {layer.origin}"
    return f"{content}, but other bytes: the client compressed it anew"


def _event_name(event: Event) -> str:
    return re.sub("(?<!^)(?=[A-Z])", " ", type(event).__name__).lower()


def _facts_of(event: Event) -> dict[str, Any]:
    return {key: getattr(event, key) for key in event.__dataclass_fields__}
