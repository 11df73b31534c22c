"""Ask an origin whether it has a blob, once for all who ask at that time, and note what it says.

Who has it in another size than it said does not have it: the size goes into a pusher's manifest.
"""

import asyncio
from enum import Enum

from proxycache.clock import Clock
from proxycache.oci import media_types
from proxycache.oci.digest import Digest
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.origins import Origin, Origins
from proxycache.tasks import SingleFlight
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound, UpstreamUnauthorized

_NOT_THERE = -1


class Verdict(Enum):
    """What an origin said of a blob."""

    HAS = "has"
    GONE = "gone"
    UNKNOWN = "unknown"


class OriginAsker:
    """Asks origins by HEAD."""

    def __init__(self, origins: Origins, clock: Clock) -> None:
        self._origins = origins
        self._clock = clock
        self._questions: SingleFlight[tuple[str, Digest], Verdict] = SingleFlight()

    async def ask(self, source: UpstreamRepository, origin: Origin, *, until: float) -> Verdict:
        """Ask the origin; a question that nobody waits for any longer is answered all the same."""
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            return Verdict.UNKNOWN
        flight = self._questions.start_or_join((origin.repository, origin.digest), lambda: self._ask(source, origin))
        done, _ = await asyncio.wait([flight], timeout=left)
        return flight.result() if done else Verdict.UNKNOWN

    async def ask_size(self, source: UpstreamRepository, digest: Digest, *, until: float) -> int | None:
        """Return how large the blob is there, now; None if it does not say so."""
        try:
            async with asyncio.timeout_at(until):
                return await source.online().head_blob(source.repository, digest)
        except (UpstreamError, TimeoutError):
            return None

    async def _ask(self, source: UpstreamRepository, origin: Origin) -> Verdict:
        try:
            has_it = await _has(source, origin)
        except UpstreamNotFound:
            has_it = False
        except UpstreamError:
            return Verdict.UNKNOWN
        if not has_it:
            await self._origins.forget(origin.digest, origin.repository)
            return Verdict.GONE
        await self._origins.confirm([origin], now=self._clock.now())
        return Verdict.HAS


async def _has(source: UpstreamRepository, origin: Origin) -> bool:
    """Tell whether it is there; raises UpstreamError where that cannot be told.

    A refusal may be of our own credentials, which have expired or were changed: then what everybody is told counts, and
    where everybody is told nothing, since `visibility = "public"` speaks of who asks us, nothing is known.
    """
    try:
        size = await _head(source, origin)
    except UpstreamUnauthorized:
        if source.client.has_credentials and source.client.settings.visibility != "auto":
            raise
        size = await _head_as_anybody(source, origin) if source.client.has_credentials else _NOT_THERE
    return size in (None, origin.size)


async def _head_as_anybody(source: UpstreamRepository, origin: Origin) -> int | None:
    try:
        return await _head(source, origin, is_anonymous=True)
    except UpstreamUnauthorized:
        return _NOT_THERE


async def _head(source: UpstreamRepository, origin: Origin, *, is_anonymous: bool = False) -> int | None:
    client = source.online()
    if is_manifest(origin):
        return (await client.head_manifest(source.repository, origin.digest, is_anonymous=is_anonymous)).size
    return await client.head_blob(source.repository, origin.digest, is_anonymous=is_anonymous)


def is_manifest(origin: Origin) -> bool:
    """Tell whether the ledger knows it as a manifest, which no client gets as a blob."""
    return origin.media_type in media_types.MANIFEST_TYPES
