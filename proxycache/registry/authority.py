"""Who somebody is, by password or by token, and the tokens that are given out for it."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.errors import Unauthorized
from proxycache.policy.permissions import Action
from proxycache.registry.permits import Permits, Scope
from proxycache.registry.settings import AuthSettings
from proxycache.registry.sign_in import THREADS, SignIn
from proxycache.registry.tokens import LIFETIME_SECONDS, Token, TokenInvalid, Tokens
from proxycache.registry.users import Users
from proxycache.store.failures import Failures
from proxycache.store.layout import Layout
from proxycache.store.secret_key import open_key
from proxycache.upstream.settings import Secret

__all__ = ["Authority", "Credential", "IssuedToken", "Secret", "SignInFiles"]

logger = logging.getLogger(__name__)

_WRONG = "wrong user name or password"


class SignInFiles:
    """What all processes share about signing in; opened when somebody first does, and then kept."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._opening = asyncio.Lock()
        self._opened: tuple[bytes, Failures] | None = None
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")

    async def open(self) -> tuple[bytes, Failures]:
        """Return the key of our tokens and the count of failures; raises StoreUnusable."""
        if self._opened is None:
            async with self._opening:
                if self._opened is None:
                    self._opened = await asyncio.to_thread(self._open)
        return self._opened

    def _open(self) -> tuple[bytes, Failures]:
        key = open_key(self._layout.token_key)
        return key, Failures(self._layout.failures, key, self._clock)

    def close(self) -> None:
        """Close the files; a check of a password that runs goes on to its end."""
        self.threads.shutdown(wait=True, cancel_futures=True)
        if self._opened is not None:
            self._opened[1].close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What somebody says to sign in, and from where."""

    user: str
    password: Secret
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A token, and for how long from when it counts."""

    text: str
    issued_at: float
    lifetime_seconds: int = LIFETIME_SECONDS


class Authority:
    """Tells who somebody is, under one configuration."""

    def __init__(self, settings: AuthSettings, permits: Permits, files: SignInFiles, clock: Clock) -> None:
        self.is_configured = settings.is_configured
        self.has_users = bool(settings.users_file)
        self._users = Users(settings.users_path if self.has_users else None)
        self._permits = permits
        self._files = files
        self._clock = clock
        self._opened: tuple[SignIn, Tokens] | None = None

    async def sign_in(self, credential: Credential) -> str:
        """Return the user's name. Raises Unauthorized, TooManyRequests, or StoreUnusable where nobody can know."""
        passwords, _ = await self._open()
        if not await passwords.is_right(credential.user, credential.password, credential.address):
            raise Unauthorized(_WRONG)
        return credential.user

    async def read(self, text: str) -> Token:
        """Return what a token says; raises TokenInvalid, also for a user who is no longer there, or StoreUnusable."""
        _, tokens = await self._open()
        token = tokens.read(text)
        if token.user and token.user not in await self._users.hashes():
            raise TokenInvalid("its user is gone", user=token.user)
        return token

    async def issue(self, credential: Credential | None, scopes: Sequence[Scope], *, may_list: bool) -> IssuedToken:
        """Return a token for what of `scopes` is allowed. Raises as `sign_in` does.

        docker offers what it knows for Docker Hub to a mirror as well: somebody whom we do not know, and who wants no
        more than what anybody may pull, gets that.
        """
        user = ""
        if credential is not None:
            is_stranger = await self._wants_to_pull_only(credential, scopes)
            if is_stranger and not self._permits.grant("", scopes):
                facts = {"user": "(unknown)", "remote": credential.address, "why": "no such user"}
                logger.warning("sign-in failed", extra=facts)
                raise Unauthorized(_WRONG)
            user = "" if is_stranger else await self.sign_in(credential)
        _, tokens = await self._open()
        text = tokens.issue(user, self._permits.grant(user, scopes), may_list=may_list)
        return IssuedToken(text=text, issued_at=self._clock.now())

    async def _wants_to_pull_only(self, credential: Credential, scopes: Sequence[Scope]) -> bool:
        if not scopes or any(scope.actions != {Action.PULL} for scope in scopes):
            return False
        return credential.user not in await self._users.hashes()

    async def _open(self) -> tuple[SignIn, Tokens]:
        if self._opened is None:
            key, failures = await self._files.open()
            self._opened = SignIn(self._users, failures, self._files.threads), Tokens(key, self._clock)
        return self._opened
