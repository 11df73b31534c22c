"""The order in which an upstream's URLs are asked: its mirrors first, itself at last.

Each gets its share of the time that is left, so that one that hangs leaves time for the next. What a mirror has not,
the upstream may have: only the upstream's own "not found" counts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from proxycache.clock import Clock
from proxycache.upstream.errors import UpstreamError, UpstreamMisbehaved, UpstreamNotFound, UpstreamUnreachable
from proxycache.upstream.source import Source

REST_SECONDS = 30.0

T = TypeVar("T")


class Mirrors:
    """The sources of one upstream. One that was unreachable rests: for a while it is asked after the others."""

    def __init__(self, mirrors: Sequence[Source], upstream: Source, *, answer_within: float, clock: Clock) -> None:
        self._sources = (*mirrors, upstream)
        self._upstream = upstream
        self._answer_within = answer_within
        self._clock = clock
        self._rests_until: dict[str, float] = {}
        self.names = frozenset(source.name for source in self._sources)
        self.mirror_names = frozenset(source.name for source in mirrors)

    async def ask(
        self,
        attempt: Callable[[Source], Awaitable[T]],
        *,
        avoid: frozenset[str] = frozenset(),
        upstream_first: bool = False,
    ) -> T:
        """Return what the first source gives that can, all within `answer_within`; raises UpstreamError.

        `upstream_first` is for lists, of which a mirror may have less without saying so.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_within
        nothing_asked = UpstreamMisbehaved(self._upstream.upstream, "no other source has it")
        failure: UpstreamError = nothing_asked
        candidates = self._order(avoid, upstream_first=upstream_first)
        for position, source in enumerate(candidates):
            share = (deadline - loop.time()) / (len(candidates) - position)
            try:
                return await self._ask_one(source, attempt, share)
            except UpstreamError as error:
                is_unknown = isinstance(error, UpstreamNotFound)
                if source is self._upstream or (failure is nothing_asked and not is_unknown):
                    failure = error
                if source is self._upstream and is_unknown:
                    break
        raise failure

    async def close(self) -> None:
        """Close all connections."""
        for source in self._sources:
            await source.close()

    async def disconnect(self) -> None:
        """Close all connections; who asks again opens new ones."""
        for source in self._sources:
            await source.disconnect()

    async def _ask_one(self, source: Source, attempt: Callable[[Source], Awaitable[T]], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await attempt(source)
        except TimeoutError:
            self._let_rest(source)
            raise UpstreamUnreachable(source.upstream, "no answer in time", timed_out=True) from None
        except UpstreamUnreachable:
            self._let_rest(source)
            raise

    def _let_rest(self, source: Source) -> None:
        self._rests_until[source.name] = self._clock.monotonic() + REST_SECONDS

    def _order(self, avoid: frozenset[str], *, upstream_first: bool) -> list[Source]:
        now = self._clock.monotonic()
        return sorted(
            (source for source in self._sources if source.name not in avoid),
            key=lambda source: (
                now < self._rests_until.get(source.name, 0.0),
                not (upstream_first and source is self._upstream),
            ),
        )
