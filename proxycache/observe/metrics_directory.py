"""Where the workers' counters lie, so that each worker can tell those of all.

prometheus_client chooses how it counts when it is first imported: this module must be used before, and does not
import it itself.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def metrics_directory(*, otherwise_in: Path) -> Iterator[Path]:
    """Make a fresh directory for the counters of one run; in `otherwise_in` where the system has no place for it."""
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError:  # a read-only container
        place = otherwise_in
    with tempfile.TemporaryDirectory(prefix="proxycache-metrics-", dir=place, ignore_cleanup_errors=True) as made:
        os.environ[VARIABLE] = made
        try:
            yield Path(made)
        finally:
            del os.environ[VARIABLE]


def forget_worker(pid: int) -> None:
    """Take a dead worker's gauges out of the sums; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - see the module's docstring

    mark_process_dead(pid)  # type: ignore[no-untyped-call] # untyped there
