"""What this caller may do: the rules where there are some, else who is on this machine may do more than others.

With a token somebody may do what anybody may, and of what the rules allow the user that for which the token was asked.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxycache.oci.errors import Denied, NameInvalid, NameUnknown, SignInNeeded
from proxycache.policy.permissions import (
    ALL_ACTIONS,
    Action,
    is_allowed,
    is_allowed_as_user,
    is_for_users,
)
from proxycache.policy.routing import Route, RoutingTable, choose_route
from proxycache.registry.settings import AuthSettings
from proxycache.registry.tokens import Grants, Token

logger = logging.getLogger(__name__)

_SCOPES = {Action.PULL: "pull", Action.PUSH: "pull,push", Action.DELETE: "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `is_loopback`: from this machine, and not on behalf of somebody else.

    `user` has signed in, by password or with `token`; `written` is the repository's name in the request's path, which
    is the one that a token's scope has.
    """

    is_loopback: bool
    user: str = ""
    token: Token | None = None
    written: str = ""

    @property
    def has_credential(self) -> bool:
        """Whether it was said who asks, be it nobody in particular."""
        return bool(self.user) or self.token is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A repository, by the name that the client writes, and what it wants to do with it."""

    name: str
    actions: frozenset[Action]


class Permits:
    """Decides for one configuration."""

    def __init__(self, settings: AuthSettings, routing: RoutingTable, *, is_loopback_only: bool) -> None:
        """`is_loopback_only`: nobody who is not on this machine reaches a listener."""
        self.routing = routing
        self._rules = settings.rules
        self._is_configured = settings.is_configured
        self._is_loopback_only = is_loopback_only

    def require(self, caller: Caller, route: Route, action: Action) -> None:
        """Return if `caller` may do that with the repository of its request; else raise SignInNeeded or Denied."""
        name = str(route.name)
        is_asked_for = _is_asked_for(caller, action)
        if self._may(caller, name, action, is_asked_for=is_asked_for):
            return
        if not self._is_configured:
            raise Denied(f"{name}: {self._why_nobody(caller, action)}")
        if is_allowed(self._rules, caller.user, name, action):
            self.require_asked_for(caller, action)
        if not caller.user and is_for_users(self._rules, name, action):
            raise self.ask(caller, action)
        logger.warning(
            "not allowed", extra={"user": caller.user or "anonymous", "repository": name, "action": action.value}
        )
        raise Denied(f"{name}: {caller.user or 'somebody who has not signed in'} may not {action.value}")

    def require_asked_for(self, caller: Caller, action: Action) -> None:
        """Return if the token, where there is one, is for this; else raise SignInNeeded."""
        if not _is_asked_for(caller, action):
            raise self.ask(caller, action)

    def may_pull(self, caller: Caller, name: str) -> bool:
        """Tell whether `caller` may pull from a repository that its request names besides, or by what is in it."""
        asked = caller.token is None or any(
            Action.PULL in actions and name == self._canonical(written, None)
            for written, actions in caller.token.grants.items()
        )
        return self._may(caller, name, Action.PULL, is_asked_for=asked)

    def may_push(self, caller: Caller, name: str) -> bool:
        """Tell whether `caller` may push to the repository of its request."""
        return self._may(caller, name, Action.PUSH, is_asked_for=_is_asked_for(caller, Action.PUSH))

    def may_see(self, caller: Caller, name: str) -> bool:
        """Tell whether a list of repositories shows this one."""
        return self._may(caller, name, Action.PULL, is_asked_for=True)

    def may_read_private(self, caller: Caller, name: str) -> bool:
        """Tell whether `caller` may also have what only our credentials can read there."""
        if not self._is_configured:
            return caller.is_loopback
        return is_allowed_as_user(self._rules, caller.user, name, Action.PULL)

    def is_for_anybody(self, name: str) -> bool:
        """Tell whether everybody may pull from there, whatever is said of who asks."""
        return not self._is_configured or is_allowed(self._rules, "", name, Action.PULL)

    def may_help_to_sign_in(self, caller: Caller, name: str) -> bool:
        """Tell whether nothing was said of who asks, and a user may have what is private there."""
        return self._is_configured and not caller.has_credential and is_for_users(self._rules, name, Action.PULL)

    def ask(self, caller: Caller, action: Action) -> SignInNeeded:
        """Return what tells a client to sign in for this; docker tries for a minute what is not called a problem."""
        problem = "" if caller.token is None else "insufficient_scope"
        return SignInNeeded(scope=f"repository:{caller.written}:{_SCOPES[action]}", problem=problem)

    def grant(self, user: str, scopes: Iterable[Scope]) -> Grants:
        """Return what of `scopes` the rules allow, by whatever registry the client may mean: it says so later only."""
        granted = {scope.name: self._granted(user, scope) for scope in scopes}
        return {name: actions for name, actions in granted.items() if actions}

    def _granted(self, user: str, scope: Scope) -> frozenset[Action]:
        names = set(self._meanings(scope.name))
        return frozenset(
            action
            for action in ALL_ACTIONS
            if action in scope.actions and any(is_allowed(self._rules, user, name, action) for name in names)
        )

    def _meanings(self, written: str) -> Iterator[str]:
        for namespace in (None, *self.routing.upstreams):
            name = self._canonical(written, namespace)
            if name:
                yield name

    def _canonical(self, written: str, namespace: str | None) -> str:
        with contextlib.suppress(NameInvalid, NameUnknown):
            return str(choose_route(self.routing, written, namespace).name)
        return ""

    def _may(self, caller: Caller, name: str, action: Action, *, is_asked_for: bool) -> bool:
        if not self._is_configured:
            return action is Action.PULL or (caller.is_loopback and self._is_loopback_only)
        if is_allowed(self._rules, "", name, action):
            return True
        return bool(caller.user) and is_asked_for and is_allowed(self._rules, caller.user, name, action)

    def _why_nobody(self, caller: Caller, action: Action) -> str:
        if caller.is_loopback:
            return f"nobody may {action.value} while this cache can be reached from elsewhere and has no rules ([auth])"
        return f"only clients on this machine may {action.value} while there are no rules ([auth])"


def _is_asked_for(caller: Caller, action: Action) -> bool:
    return caller.token is None or action in caller.token.grants.get(caller.written, ())
