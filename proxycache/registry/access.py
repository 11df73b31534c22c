"""Which repository a request means, and whether its caller may read it.

What only our credentials can read is not handed to everybody: `visibility` says how an upstream's repositories are
judged, and private ones are for loopback peers. To others they look like those that do not exist. What the rules of an
upstream refuse is for nobody, held or not.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.oci.errors import Denied, NameUnknown
from proxycache.oci.names import RepositoryName, Tag
from proxycache.policy.admission import RuleSettings, find_refusal
from proxycache.policy.freshness import FreshnessSettings
from proxycache.policy.routing import RequestStyle, Route, RoutingTable, choose_route
from proxycache.registry.pace import Pace
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.repositories import Visibility
from proxycache.store.tables import Tables
from proxycache.tasks import SingleFlight
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound, UpstreamUnauthorized

__all__ = ["Access", "Caller", "RequestStyle", "Route", "Upstream"]

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 86_400.0
_HIDDEN = "not found, or private and so for clients on this machine only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `is_loopback`: from this machine, and not on behalf of somebody else."""

    is_loopback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A configured upstream."""

    client: UpstreamClient
    freshness: FreshnessSettings
    rules: RuleSettings
    is_offline: bool
    pace: Pace | None = None


class Access:
    """Opens repositories for callers."""

    def __init__(
        self,
        routing: RoutingTable,
        upstreams: Mapping[str, Upstream],
        tables: Tables,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._routing = routing
        self._upstreams = upstreams
        self._tables = tables
        self._recorder = recorder
        self._clock = clock
        self._questions: SingleFlight[tuple[str, Tag | Digest | None], bool] = SingleFlight()

    def route(self, name: str, namespace: str | None, host: str) -> Route:
        """Return where a request leads; raises NameInvalid or NameUnknown."""
        return choose_route(self._routing, name, namespace, host)

    def answer_within(self, route: Route) -> float | None:
        """How many seconds a request may wait for its answer to begin; None where nobody is asked."""
        return None if route.upstream is None else self._upstreams[route.upstream].client.settings.answer_within

    @property
    def local_namespaces(self) -> tuple[str, ...]:
        """Below which names repositories live here."""
        return self._routing.local_namespaces

    async def open(self, route: Route, caller: Caller, reference: Tag | Digest | None = None) -> UpstreamRepository:
        """Return the repository if `caller` may read it; `reference` is what its visibility may be asked with.

        Raises Denied if the rules refuse it, UpstreamNotFound if it is not for this caller, UpstreamError if that could
        not be found out.
        """
        name = str(route.name)
        if route.upstream is None:
            raise NameUnknown(name)
        upstream = self._upstreams[route.upstream]
        rule = find_refusal(upstream.rules, route.upstream, route.repository)
        if rule:
            logger.warning("refused by rule", extra={"repository": name, "rule": rule})
            raise Denied(f"{name}: refused by the rules of this cache")
        is_public = True
        if upstream.client.has_credentials:
            is_public = await self._is_public(upstream, route, reference, caller)
        if not is_public and not caller.is_loopback:
            raise UpstreamNotFound(route.upstream, _HIDDEN)
        return UpstreamRepository(
            client=upstream.client,
            repository=route.repository,
            name=name,
            freshness=upstream.freshness,
            is_public=is_public,
            is_offline=upstream.is_offline,
            pace=upstream.pace,
        )

    async def may_list(self, name: str, caller: Caller) -> bool:
        """Tell whether the catalog shows `name` to `caller`."""
        registry, _, repository = name.partition("/")
        upstream = self._upstreams.get(registry)
        if upstream is None or find_refusal(upstream.rules, registry, RepositoryName(repository)):
            return False
        if caller.is_loopback or not upstream.client.has_credentials:
            return True
        match upstream.client.settings.visibility:
            case "public":
                return True
            case "private":
                return False
            case "auto":
                known = await self._find_visibility(name)
                return known is not None and known.is_public

    async def _is_public(
        self, upstream: Upstream, route: Route, reference: Tag | Digest | None, caller: Caller
    ) -> bool:
        client = upstream.client
        if client.settings.visibility != "auto":
            return client.settings.visibility == "public"
        name = str(route.name)
        known = await self._find_visibility(name)
        if known is not None and (upstream.is_offline or self._clock.now() - known.checked_at < ASK_AGAIN_SECONDS):
            return known.is_public
        if upstream.is_offline:
            return False
        try:
            return await asyncio.shield(
                self._questions.start_or_join((name, reference), lambda: self._ask(client, route, reference))
            )
        except UpstreamError as error:
            if known is None and not caller.is_loopback and not _is_hidden(error):
                raise
            return known is not None and known.is_public

    async def _ask(self, client: UpstreamClient, route: Route, reference: Tag | Digest | None) -> bool:
        """Find out and note it; raises UpstreamNotFound where there is nothing to be found, not even for us."""
        is_public = await client.is_public(route.repository, reference)
        if not is_public and reference is not None:
            await client.head_manifest(route.repository, reference)
        elif not is_public:
            await client.list_tags(route.repository, n=1, last=None)
        await self._recorder.record_visibility(str(route.name), is_public=is_public)
        return is_public

    async def _find_visibility(self, name: str) -> Visibility | None:
        return await self._recorder.known(self._tables.repositories.find_visibility(name))


def _is_hidden(error: UpstreamError) -> bool:
    """Tell whether what the upstream does not give us either has to look like what it gives to us only."""
    return isinstance(error, UpstreamUnauthorized | UpstreamNotFound)
