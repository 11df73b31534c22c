"""Say in the log what the disk does not keep: once for each blob and reason, not for each pull of it.

A blob that is too large for the budget is pulled a thousand times like any other; `FillEnded` counts each time.
"""

import logging
from collections import OrderedDict

from proxycache.clock import Clock
from proxycache.oci.digest import Digest

logger = logging.getLogger(__name__)

SAID_AGAIN_SECONDS = 3600.0
MOST_REMEMBERED = 4096

_Said = tuple[Digest, str]


class Unkept:
    """What this process has said of late, the oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said_at: OrderedDict[_Said, float] = OrderedDict()

    def note(self, repository: str, digest: Digest, error: Exception) -> None:
        """`digest` passes through the disk because of `error`."""
        now = self._clock.monotonic()
        said = digest, _kind(error)
        if now - self._said_at.get(said, float("-inf")) < SAID_AGAIN_SECONDS:
            return
        self._said_at.pop(said, None)
        self._said_at[said] = now
        if len(self._said_at) > MOST_REMEMBERED:
            self._said_at.popitem(last=False)
        logger.warning("cannot keep blob", extra={"repository": repository, "digest": str(digest), "why": str(error)})


def _kind(error: Exception) -> str:
    """Return what is the same each time: texts name sizes and paths."""
    return f"{type(error).__name__} {getattr(error, 'errno', '')}"
