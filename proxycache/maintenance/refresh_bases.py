"""Keep the ledger true to the bases: hourly, in one process, ask each one's tag by HEAD, and learn what has moved.

A base that cannot be learnt is a line in the log, and is asked for again the next time.
"""

import logging
from collections.abc import Callable, Sequence

from proxycache.maintenance.schedule import run_hourly_in_turn
from proxycache.oci.errors import RegistryError
from proxycache.policy.routing import Route
from proxycache.registry.learn_base import BaseLearner, parse_base
from proxycache.store.bases import Bases
from proxycache.store.leases import Leases
from proxycache.upstream.errors import UpstreamError

logger = logging.getLogger(__name__)


class BaseRefresher:
    """Refreshes the bases that are configured or were added; `route` says what a name means."""

    def __init__(
        self, learner: BaseLearner, bases: Bases, *, configured: Sequence[str], route: Callable[[str], Route]
    ) -> None:
        self._learner = learner
        self._bases = bases
        self._configured = configured
        self._route = route

    async def refresh(self) -> None:
        """Ask for each; raises StoreError."""
        for reference in dict.fromkeys([*self._configured, *await self._bases.list_added()]):
            try:
                base = parse_base(reference, self._route)
                learnt = await self._learner.learn(base)
            except (RegistryError, UpstreamError) as error:
                logger.warning("base not learnt", extra={"base": reference, "why": str(error)})
                continue
            if learnt.is_new:
                facts = {"digest": str(learnt.digest), "images": learnt.images, "layers": learnt.layers}
                logger.info("base learnt", extra={"base": str(base), **facts})


async def refresh_bases(current: Callable[[], BaseRefresher], leases: Leases) -> None:
    """Refresh now and hourly, for ever; of several workers that wake together one does."""
    await run_hourly_in_turn("refresh bases", lambda: current().refresh(), leases)
