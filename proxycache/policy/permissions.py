"""Who may do what with which repository: rules over canonical names, decided without looking at anything else.

A rule is for everybody ("anonymous"), for everybody who has signed in ("*"), or for one user. Rules only ever allow, so
their order does not matter: what no rule allows is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from proxycache.policy.admission import matches_name, require_pattern

ANYBODY = "anonymous"
EVERY_USER = "*"
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")


class Action(Enum):
    """What somebody wants to do with a repository."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


ALL_ACTIONS = tuple(Action)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """Lets `who` do `actions` with the repositories that a pattern matches. Raises ValueError with one line."""

    who: str
    repositories: tuple[str, ...] = ("**",)
    actions: tuple[Action, ...] = (Action.PULL,)

    def __post_init__(self) -> None:
        if self.who not in (ANYBODY, EVERY_USER) and not is_user_name(self.who):
            raise ValueError(f'who: {self.who!r} is neither the name of a user, nor "{EVERY_USER}", nor "{ANYBODY}"')
        if not self.repositories or not self.actions:
            raise ValueError(f"the rule for {self.who!r} names no repositories or no actions")
        for pattern in self.repositories:
            require_pattern("repositories", pattern)


def is_user_name(text: str) -> bool:
    """Tell whether somebody may be called so: what rules say of everybody is nobody's name."""
    return text != ANYBODY and USER_NAME.fullmatch(text) is not None


def is_allowed(rules: Sequence[AccessRule], user: str, name: str, action: Action) -> bool:
    """Tell whether `user` ("": nobody has signed in) may do that with the repository of that canonical name."""
    return any(_is_for(rule, user) and _is_about(rule, name, action) for rule in rules)


def is_allowed_as_user(rules: Sequence[AccessRule], user: str, name: str, action: Action) -> bool:
    """Tell whether a rule allows it that is not for everybody: what private content asks for."""
    return any(rule.who != ANYBODY and _is_for(rule, user) and _is_about(rule, name, action) for rule in rules)


def is_for_users(rules: Sequence[AccessRule], name: str, action: Action) -> bool:
    """Tell whether signing in may help: whether some user is allowed it as one."""
    return any(rule.who != ANYBODY and _is_about(rule, name, action) for rule in rules)


def _is_for(rule: AccessRule, user: str) -> bool:
    return rule.who == ANYBODY or (bool(user) and rule.who in (EVERY_USER, user))


def _is_about(rule: AccessRule, name: str, action: Action) -> bool:
    return action in rule.actions and any(matches_name(pattern, name) for pattern in rule.repositories)
