"""Who we are at one host: read when first needed, kept for minutes, read again when refused."""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from proxycache.clock import Clock
from proxycache.tasks import SingleFlight
from proxycache.upstream.errors import UpstreamError
from proxycache.upstream.settings import NO_SECRET, Secret

KEEP_SECONDS = 300.0
RENEW_PAUSE_SECONDS = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user with a password, or with an identity token that is good for asking for other tokens only."""

    username: str
    password: Secret = NO_SECRET
    identity_token: Secret = NO_SECRET

    def basic(self) -> Secret:
        """Return the value of an Authorization header that holds user and password (RFC 7617)."""
        pair = f"{self.username}:{(self.password or self.identity_token).reveal()}"
        return Secret(f"Basic {base64.b64encode(pair.encode()).decode()}")


ReadCredential: TypeAlias = Callable[[], Awaitable[Credential | None]]


class Credentials:
    """The credential for one host, None where there is none. `read` raises UpstreamError if it cannot tell."""

    def __init__(self, read: ReadCredential, *, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._reading: SingleFlight[str, Credential | None] = SingleFlight()
        self._kept: Credential | None = None
        self._read_at = float("-inf")
        self._renewed_in_vain_at = float("-inf")

    async def get(self) -> Credential | None:
        """Return the credential, read anew after some minutes; raises UpstreamError if it cannot be read."""
        if self._clock.monotonic() < self._read_at + KEEP_SECONDS:
            return self._kept
        return await self._read_once()

    async def renew(self, refused: Credential | None) -> Credential | None:
        """Return what to say instead of `refused`; the same again where nothing else can be said.

        Somebody who may not read a repository is refused each time: a read that gave nothing new is not repeated at
        once.
        """
        if self._kept != refused:
            return self._kept
        if self._clock.monotonic() < self._renewed_in_vain_at + RENEW_PAUSE_SECONDS:
            return refused
        renewed = await self._read_once()
        if renewed == refused:
            self._renewed_in_vain_at = self._clock.monotonic()
        return renewed

    async def close(self) -> None:
        """Stop reading."""
        await self._reading.close()

    async def _read_once(self) -> Credential | None:
        return await asyncio.shield(self._reading.start_or_join("credential", self._read_and_keep))

    async def _read_and_keep(self) -> Credential | None:
        try:
            self._kept = await self._read()
        except UpstreamError as error:
            if self._kept is None:
                raise
            logger.warning("credential kept", extra={"upstream": error.upstream, "reason": error.reason})
        self._read_at = self._clock.monotonic()
        return self._kept
