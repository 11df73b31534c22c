"""Which repository a request means, and whether its caller may do with it what it wants.

What only our credentials can read is not handed to everybody: `visibility` says how an upstream's repositories are
judged, and private ones are for users whom a rule allows it, or for loopback peers where there are no rules. To others
they look like those that do not exist. What the rules of an upstream refuse is for nobody, held or not.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.oci.errors import Denied, NameUnknown, Unsupported
from proxycache.oci.names import RepositoryName, Tag
from proxycache.policy.admission import RuleSettings, find_refusal
from proxycache.policy.freshness import FreshnessSettings
from proxycache.policy.permissions import Action
from proxycache.policy.routing import RequestStyle, Route, choose_route
from proxycache.registry.pace import Pace
from proxycache.registry.permits import Caller, Permits
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.repositories import Visibility
from proxycache.store.tables import Tables
from proxycache.tasks import SingleFlight
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound, UpstreamUnauthorized, UpstreamUnreachable

__all__ = ["Access", "Action", "Caller", "LocalRepository", "RequestStyle", "Route", "Upstream"]

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 86_400.0
_KNOWN_COUNTS_AFTER_SECONDS = 0.8
_ANYBODY = Caller(is_loopback=False)
_UNKNOWN = Visibility(is_public=False, checked_at=-math.inf)
_HIDDEN = "not found, or private and not for this client"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRepository:
    """A repository that lives here. `name` is canonical; `is_for_anybody`: everybody may pull from it.

    That is for us to say, so that there is nobody to ask again.
    """

    name: str
    is_for_anybody: bool
    ask_again_at: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A configured upstream."""

    client: UpstreamClient
    freshness: FreshnessSettings
    rules: RuleSettings
    is_offline: bool
    pace: Pace | None = None

    @property
    def is_public(self) -> bool | None:
        """Whether everybody may have all that it gives us; None where each repository has to be asked for."""
        visibility = self.client.settings.visibility
        if visibility != "auto":
            return visibility == "public"
        return None if self.client.has_credentials else True


class Access:
    """Opens repositories for callers."""

    def __init__(
        self,
        permits: Permits,
        upstreams: Mapping[str, Upstream],
        tables: Tables,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._permits = permits
        self._routing = permits.routing
        self._upstreams = upstreams
        self._tables = tables
        self._recorder = recorder
        self._clock = clock
        self._questions: SingleFlight[tuple[str, Tag | Digest | None], Visibility] = SingleFlight()

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

        Raises Denied if the rules refuse it, SignInNeeded where a user might read it, UpstreamNotFound if it is not for
        this caller, UpstreamError if that could not be found out.
        """
        upstream = self._admit(route)
        self._permits.require(caller, route, Action.PULL)
        visibility = await self._visibility(upstream, route, reference, caller)
        if not visibility.is_public:
            self._require_private(caller, upstream.client.name, str(route.name))
        return self._repository(upstream, route, visibility)

    async def open_as_owner(self, route: Route, reference: Tag | Digest | None = None) -> UpstreamRepository:
        """Return the repository for whoever runs a command on this machine: nobody asks who that is.

        Whose the configuration and the store are may read what our credentials can. No request is opened in this way.
        Raises Denied if the rules of the upstream refuse it, NameUnknown if it lives here.
        """
        upstream = self._admit(route)
        return self._repository(upstream, route, await self._visibility(upstream, route, reference, None))

    async def open_origin(self, name: str, caller: Caller | None) -> UpstreamRepository | None:
        """Return an upstream's repository, by canonical name, if everybody can read it there and `caller` may here.

        Without a caller it is opened for those who may read what borrows from it. What was known counts where the
        upstream is late or fails; raises UpstreamError where nothing was known.
        """
        upstream = self._find_admitted(name)
        if upstream is None or (caller is not None and not self._permits.may_see(caller, name)):
            return None
        registry, _, repository = name.partition("/")
        route = Route(upstream=registry, repository=RepositoryName(repository), style=RequestStyle.PREFIX)
        visibility = await self._visibility_soon(upstream, route)
        return self._repository(upstream, route, visibility) if visibility.is_public else None

    async def _visibility_soon(self, upstream: Upstream, route: Route) -> Visibility:
        known = None if upstream.is_public is not None else await self._find_visibility(str(route.name))
        try:
            async with asyncio.timeout(None if known is None else _KNOWN_COUNTS_AFTER_SECONDS):
                visibility = await self._visibility(upstream, route, None, _ANYBODY)
        except TimeoutError:
            return known or _UNKNOWN
        if visibility is _UNKNOWN and upstream.is_offline:
            why = f"whether {route.name} is public is not known, and offline = true: nobody is asked"
            raise UpstreamUnreachable(upstream.client.name, why, timed_out=True)
        return visibility

    def _admit(self, route: Route) -> Upstream:
        name = str(route.name)
        if route.upstream is None:
            raise NameUnknown(name)
        upstream = self._upstreams[route.upstream]
        rule = find_refusal(upstream.rules, route.upstream, route.repository)
        if rule:
            logger.warning("refused by rule", extra={"repository": name, "rule": rule})
            raise Denied(f"{name}: refused by the rules of this cache")
        return upstream

    def _repository(self, upstream: Upstream, route: Route, visibility: Visibility) -> UpstreamRepository:
        name, is_public = str(route.name), visibility.is_public
        return UpstreamRepository(
            client=upstream.client,
            repository=route.repository,
            name=name,
            freshness=upstream.freshness,
            is_public=is_public,
            is_for_anybody=is_public and self._permits.is_for_anybody(name),
            is_offline=upstream.is_offline,
            ask_again_at=math.inf if upstream.is_offline else visibility.checked_at + ASK_AGAIN_SECONDS,
            pace=upstream.pace,
        )

    def _require_private(self, caller: Caller, upstream: str, name: str) -> None:
        """Return if `caller` may have what is private; what does not exist ends in the same way for who may not."""
        if self._permits.may_read_private(caller, name):
            self._permits.require_asked_for(caller, Action.PULL)
            return
        if self._permits.may_help_to_sign_in(caller, name):  # clients sign in only when they are asked to
            raise self._permits.ask(caller, Action.PULL)
        raise UpstreamNotFound(upstream, _HIDDEN)

    async def open_local(self, route: Route, caller: Caller, action: Action) -> LocalRepository:
        """Return the local repository if `caller` may do that.

        Raises Unsupported for an upstream's name, SignInNeeded where a user might do it, or Denied.
        """
        if route.upstream is not None:
            raise self.read_only(route)
        self._permits.require(caller, route, action)
        name = str(route.name)
        return LocalRepository(name=name, is_for_anybody=self._permits.is_for_anybody(name))

    def may_push(self, name: str, caller: Caller) -> bool:
        """Tell whether `caller` may push to the local repository of its request."""
        return self._permits.may_push(caller, name)

    def read_only(self, route: Route) -> Unsupported:
        """Return what a pusher to an upstream's name is told."""
        own = ", ".join(f"{namespace}/" for namespace in self.local_namespaces)
        return Unsupported(f"{route.name}: an upstream's, so read only here; push to a name below {own}")

    async def may_pull(self, name: str, caller: Caller) -> bool:
        """Tell whether `caller` may also pull from the repository of this canonical name.

        A token has to be for it, unless everybody can read it where it comes from.
        """
        if self._permits.may_pull(caller, name):
            return await self.may_list(name, caller)
        return not self._is_local(name) and self._permits.may_see(caller, name) and await self._is_known_public(name)

    async def may_list(self, name: str, caller: Caller) -> bool:
        """Tell whether the catalog shows `name` to `caller`."""
        if not self._permits.may_see(caller, name):
            return False
        if self._is_local(name):
            return True
        if self._find_admitted(name) is None:
            return False
        return self._permits.may_read_private(caller, name) or await self._is_known_public(name)

    def _is_local(self, name: str) -> bool:
        return any(f"{name}/".startswith(f"{namespace}/") for namespace in self.local_namespaces)

    def _find_admitted(self, name: str) -> Upstream | None:
        registry, _, repository = name.partition("/")
        upstream = self._upstreams.get(registry)
        if upstream is None or find_refusal(upstream.rules, registry, RepositoryName(repository)):
            return None
        return upstream

    async def _is_known_public(self, name: str) -> bool:
        """Tell, without asking anybody, whether everybody can read it upstream."""
        upstream = self._find_admitted(name)
        if upstream is None:
            return False
        if upstream.is_public is not None:
            return upstream.is_public
        known = await self._find_visibility(name)
        return known is not None and known.is_public

    async def _visibility(
        self, upstream: Upstream, route: Route, reference: Tag | Digest | None, caller: Caller | None
    ) -> Visibility:
        """Tell whether everybody can read it upstream, and since when that is known: never old if it is configured.

        Without a `caller`, for who may have what is private as well.
        """
        if upstream.is_public is not None:
            return Visibility(is_public=upstream.is_public, checked_at=math.inf)
        client = upstream.client
        name = str(route.name)
        known = await self._find_visibility(name)
        if known is not None and (upstream.is_offline or self._clock.now() - known.checked_at < ASK_AGAIN_SECONDS):
            return known
        if upstream.is_offline:
            return _UNKNOWN
        try:
            return await asyncio.shield(
                self._questions.start_or_join((name, reference), lambda: self._ask(client, route, reference))
            )
        except UpstreamError as error:
            may_read_private = caller is None or self._permits.may_read_private(caller, name)
            if known is None and not may_read_private and not _is_hidden(error):
                raise
            return known or _UNKNOWN

    async def _ask(self, client: UpstreamClient, route: Route, reference: Tag | Digest | None) -> Visibility:
        """Find out and note it; raises UpstreamNotFound where there is nothing to be found, not even for us."""
        checked_at = self._clock.now()
        is_public = await client.is_public(route.repository, reference)
        if not is_public and reference is not None:
            await client.head_manifest(route.repository, reference)
        elif not is_public:
            await client.list_tags(route.repository, n=1, last=None)
        await self._recorder.record_visibility(str(route.name), is_public=is_public)
        return Visibility(is_public=is_public, checked_at=checked_at)

    async def _find_visibility(self, name: str) -> Visibility | None:
        return await self._recorder.known(self._tables.repositories.find_visibility(name))


def _is_hidden(error: UpstreamError) -> bool:
    """Tell whether what the upstream does not give us either has to look like what it gives to us only."""
    return isinstance(error, UpstreamUnauthorized | UpstreamNotFound)
