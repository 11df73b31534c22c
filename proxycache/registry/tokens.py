"""Our own tokens: who somebody is, and for which repositories they asked, signed and short-lived.

A token never gives more than the rules give: it is held against them again at each request.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from proxycache.clock import Clock
from proxycache.policy.permissions import Action

LIFETIME_SECONDS = 300
_ALGORITHM = "HS256"
_ISSUER = _AUDIENCE = "proxycache"
_MOST_REMEMBERED = 4096
_MOST_BYTES = 8192
# Times are held against our own clock, below.
_OPTIONS: Any = {"require": ["exp", "iat"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}

Grants = Mapping[str, frozenset[Action]]
"""What may be done with each repository, by its name as the client writes it."""


class TokenInvalid(ValueError):
    """Not a token of ours, or one that no longer counts; `user`: whose it was, where that is sure."""

    def __init__(self, why: str, *, user: str = "") -> None:
        super().__init__(why)
        self.user = user


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token says; no `user`: somebody who has not signed in. `may_list`: the catalog was asked for."""

    user: str
    grants: Grants
    may_list: bool
    expires_at: float


class Tokens:
    """Makes and reads tokens; those read lately are remembered, so that a request costs a look-up."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._known: OrderedDict[str, Token] = OrderedDict()

    def issue(self, user: str, grants: Grants, *, may_list: bool) -> str:
        """Return a token that counts for LIFETIME_SECONDS from now on."""
        now = int(self._clock.now())
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": user,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "access": [
                {
                    "type": "repository",
                    "name": name,
                    "actions": [action.value for action in Action if action in actions],
                }
                for name, actions in grants.items()
            ],
            "list": may_list,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def read(self, text: str) -> Token:
        """Return what `text` says; raises TokenInvalid."""
        token = self._known.get(text)
        if token is None:
            token = self._decode(text)
            self._known[text] = token
            if len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        if token.expires_at <= self._clock.now():
            raise TokenInvalid("expired", user=token.user)
        return token

    def _decode(self, text: str) -> Token:
        if len(text) > _MOST_BYTES:
            raise TokenInvalid("too long")
        try:
            claims = jwt.decode(
                text, self._key, algorithms=[_ALGORITHM], issuer=_ISSUER, audience=_AUDIENCE, options=_OPTIONS
            )
            return Token(
                user=claims["sub"],
                grants=_parse_grants(claims["access"]),
                may_list=claims["list"],
                expires_at=float(claims["exp"]),
            )
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError) as error:  # or one of another version
            raise TokenInvalid("not a token of this cache") from error


def _parse_grants(access: Sequence[Mapping[str, Any]]) -> Grants:
    return {entry["name"]: frozenset(Action(action) for action in entry["actions"]) for entry in access}
