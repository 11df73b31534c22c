"""Run the jobs of a worker from the command line, beside a cache that runs or not, and leave that one undisturbed."""

import asyncio
import logging
import os
from typing import TYPE_CHECKING, TypeVar

from proxycache.cli.opened_store import find_layout
from proxycache.clock import SystemClock
from proxycache.config.model import Settings
from proxycache.observe.metrics_directory import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxycache.app import Jobs, Parts

T = TypeVar("T")


def run_jobs(settings: Settings, work: "Callable[[Parts, Jobs], Awaitable[T]]") -> T:
    """Run `work` with what a worker would have; raises StoreError where there is no cache."""
    find_layout(settings)
    # What jobs log is for who runs them; here their error is the one line that is told.
    logging.getLogger("proxycache").addHandler(logging.NullHandler())
    # This process counts for itself: what the variable names may be where those of others lie.
    os.environ.pop(VARIABLE, None)

    async def run() -> T:
        # Not before: prometheus_client looks at the variable when it is loaded.
        from proxycache.app import build_jobs, build_services, open_parts  # noqa: PLC0415 - as said above

        async with open_parts(settings, SystemClock()) as parts:
            return await work(parts, build_jobs(settings, parts, build_services(settings, parts)))

    return asyncio.run(run())
