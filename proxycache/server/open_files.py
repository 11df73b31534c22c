"""How many files and sockets a process may have open: a client on its way through takes several."""

import contextlib
import logging
import resource

ENOUGH = 4096

logger = logging.getLogger(__name__)


def raise_open_files_limit() -> None:
    """Raise the limit as far as the system lets us, for this process and its children; warn where that is not far.

    The soft limit, often 1024, is what programs get that use `select` on their connections; none does here.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # the system's own limit may be lower by now
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < ENOUGH:
        logger.warning("few open files allowed", extra={"allowed": allowed, "wanted": ENOUGH})
