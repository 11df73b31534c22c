"""Where a repository's content comes from: its upstream, and the name it has there and here."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from proxycache.oci.names import RepositoryName
from proxycache.policy.freshness import FreshnessSettings
from proxycache.registry.pace import Pace
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamUnreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRepository:
    """A repository of an upstream. `name` is canonical.

    `is_public`: everybody can read it upstream; `is_for_anybody`: and may here, whoever asks. That counts until
    `ask_again_at` (epoch), infinite where the upstream is not asked.
    """

    client: UpstreamClient
    repository: RepositoryName
    name: str
    freshness: FreshnessSettings
    is_public: bool
    is_for_anybody: bool
    is_offline: bool
    ask_again_at: float = math.inf
    pace: Pace | None = None

    @property
    def upstream(self) -> str:
        """The upstream's name."""
        return self.client.name

    async def keep_pace(self, size: int, *, received: int, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait, where a bandwidth is set, until `size` more bytes of an answer may be had after the `received`.

        What is no longer `is_wanted` goes only while the line is idle.
        """
        if self.pace is not None:
            await self.pace.take(size, received=received, is_wanted=is_wanted)

    def online(self) -> UpstreamClient:
        """Return the client to ask; raises UpstreamUnreachable where nobody is to be contacted.

        The only way of the jobs to an upstream, so that `offline = true` holds for all of them.
        """
        if self.is_offline:
            raise UpstreamUnreachable(self.upstream, "not held, and offline = true: nobody is asked", timed_out=True)
        return self.client
