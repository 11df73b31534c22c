"""What is no HTTP at all: anybody can send it, so it gets one quiet line, not an error with a traceback."""

import logging

from aiohttp.http_exceptions import HttpProcessingError


class BadRequestFilter(logging.Filter):
    """Belongs on the logger that is given to the server."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record of a request that could not be parsed; let everything pass."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
            record.msg, record.args, record.exc_info = "bad request", (), None
            record.why = " ".join(error.message.split())[:200]
        return True


def server_logger() -> logging.Logger:
    """Return the logger for `aiohttp.web.Server`."""
    logger = logging.getLogger(__name__)
    if not logger.filters:
        logger.addFilter(BadRequestFilter())
    return logger
