"""How a fake registry asks who you are: bearer tokens with an endpoint of their own, or a password.

registry.auth = TokenAuth(username="ann", password="secret")      `private` repositories only for ann
registry.auth = BasicAuth(username="ann", password="secret")      everything only for ann
"""

import base64
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web
from multidict import CIMultiDict

from tests.fakes.listener import SeenRequest


def unauthorized(*challenges: str) -> web.Response:
    """Return 401 with these challenges, one header line each."""
    headers = CIMultiDict([("WWW-Authenticate", challenge) for challenge in challenges])
    body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    return web.json_response(body, status=401, headers=headers)


class Auth(Protocol):
    """Decides who may read what."""

    def refuse(self, request: web.BaseRequest, repository: str) -> web.Response | None:
        """Return the refusal, or None if the request may go on; the repository is empty for `/v2/`."""
        ...


@dataclass(slots=True, kw_only=True)
class BasicAuth:
    """One user; nothing is for anybody else, except in the repositories of `public`."""

    username: str
    password: str
    public: set[str] = field(default_factory=set)

    def refuse(self, request: web.BaseRequest, repository: str) -> web.Response | None:
        if repository in self.public or _is_user(request, self.username, self.password):
            return None
        return unauthorized('Basic realm="fake registry"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that was given out."""

    text: str
    scopes: frozenset[str]
    ends_at: float


@dataclass(slots=True, kw_only=True)
class TokenAuth:
    """The 401 dance: everything needs a token; an anonymous one is good for all that is not `private`.

    `requests` holds what came to the token endpoint, which `serve_token` answers at `realm`
    (the registry's own `/token` unless it names another place).
    """

    username: str = ""
    password: str = ""
    service: str = "fake registry, with a comma="
    realm: str = ""
    private: set[str] = field(default_factory=set)
    expires_in: float | None = 300.0  # None: the answer does not say
    token_field: str = "token"  # or "access_token"
    extra_challenges: tuple[str, ...] = ()
    one_line: bool = False  # all challenges in one header line
    scope: str | None = None  # what the challenge asks for instead of the repository
    requests: list[SeenRequest] = field(default_factory=list)
    tokens: dict[str, Token] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def revoke_all(self) -> None:
        """Let no token that was given out count any more."""
        self.tokens.clear()

    def refuse(self, request: web.BaseRequest, repository: str) -> web.Response | None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        token = self.tokens.get(text) if scheme.lower() == "bearer" else None
        wanted = f"repository:{repository}:pull" if repository else ""
        if token is not None and token.ends_at > time.monotonic() and (not wanted or wanted in token.scopes):
            return None
        return unauthorized(*self._challenges(request, wanted))

    def serve_token(self, seen: SeenRequest) -> web.Response:
        """Answer a request for a token: what may not be read is left out of it, as Docker Hub does."""
        self.requests.append(seen)
        authorization = seen.headers.get("Authorization")
        is_user = authorization is not None and authorization == _basic(self.username, self.password)
        if authorization is not None and not is_user:
            return unauthorized()
        asked = seen.query.get("scope", "").split()
        granted = frozenset(scope for scope in asked if is_user or scope.split(":")[1] not in self.private)
        token = self._give_out(granted)
        document: dict[str, object] = {self.token_field: token.text}
        if self.expires_in is not None:
            document["expires_in"] = self.expires_in
        return web.json_response(document)

    def _give_out(self, scopes: frozenset[str]) -> Token:
        lifetime = 60.0 if self.expires_in is None else self.expires_in
        token = Token(text=f"token-{next(self._numbers)}", scopes=scopes, ends_at=time.monotonic() + lifetime)
        self.tokens[token.text] = token
        return token

    def _challenges(self, request: web.BaseRequest, wanted: str) -> list[str]:
        realm = self.realm or f"http://{request.host}/token"
        scope = wanted if self.scope is None else self.scope
        bearer = f'Bearer realm="{realm}",service="{self.service}"' + (f',scope="{scope}"' if scope else "")
        challenges = [bearer, *self.extra_challenges]
        return [", ".join(challenges)] if self.one_line else challenges


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _is_user(request: web.BaseRequest, username: str, password: str) -> bool:
    return request.headers.get("Authorization") == _basic(username, password)
