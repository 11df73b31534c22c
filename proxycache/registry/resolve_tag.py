"""Resolve a tag: fresh, it is known; else one question to the upstream serves all who ask, in all processes.

The question is a HEAD, which Docker Hub does not count as a pull. A digest that is known but stale is given within
a second when the upstream is slow, unreachable, limits us or fails; the question goes on behind that answer's back.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci import media_types
from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.names import Tag
from proxycache.policy.freshness import TagState, decide_tag, fresh_seconds
from proxycache.registry.keep_manifest import ManifestKeeper, SchemaOneOnly
from proxycache.registry.outcomes import Failure, Outcome, TagAnswer, decode_outcome, encode_outcome, failure_of
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.leases import Claim, Leases
from proxycache.store.tags import TagRow
from proxycache.tasks import SingleFlight
from proxycache.upstream.client import FetchedManifest
from proxycache.upstream.errors import (
    UpstreamError,
    UpstreamMisbehaved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnreachable,
)

STALE_AFTER_SECONDS = 0.8
_QUIET_SECONDS = 1.0
_LONGEST_QUIET_SECONDS = 60.0
_QUIET_WITHOUT_ANSWER = ("rate_limited", "unreachable")
_STALE_KINDS = (*_QUIET_WITHOUT_ANSWER, "misbehaved")
_STALE_IF = (UpstreamUnreachable, UpstreamRateLimited, UpstreamMisbehaved)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTag:
    """Where a tag points. `fresh_until` (epoch) says how long that counts.

    `was_known`: the upstream was not asked, or confirmed what was known. `stale_because`: set when it is stale.
    """

    digest: Digest
    media_type: str
    size: int
    was_known: bool
    age_seconds: int
    fresh_until: float
    stale_because: str = ""


@dataclass(slots=True)
class _Question:
    asked_at: float
    quiet_until: float = 0.0
    failure: Failure | None = None


class TagResolver:
    """Resolves tags of upstream repositories."""

    def __init__(self, recorder: Recorder, leases: Leases, keeper: ManifestKeeper, clock: Clock) -> None:
        self._recorder = recorder
        self._leases = leases
        self._keeper = keeper
        self._clock = clock
        self._flights: SingleFlight[tuple[str, Tag], TagRow] = SingleFlight()
        self._moves: SingleFlight[tuple[str, Tag], FetchedManifest] = SingleFlight()
        self._questions: dict[tuple[str, Tag], _Question] = {}

    async def resolve(self, source: UpstreamRepository, tag: Tag) -> ResolvedTag:
        """Return where `tag` points; raises UpstreamError where that is neither known nor to be found out."""
        row = await self._recorder.find_tag(source.name, tag)
        if row is not None:
            state = self._state(source, row)
            if state is TagState.FRESH:
                return self._resolved(source, row, known=row)
            if state is TagState.REVALIDATE:
                return await self._revalidate(source, tag, row)
        await self._recorder.check_absence(source, "tag", tag)
        failure = self._find_recent_failure(source, tag)
        if failure is not None and failure.kind in _QUIET_WITHOUT_ANSWER:
            raise failure.error()
        return self._resolved(source, await asyncio.shield(self._ask(source, tag)), known=None)

    async def ask_now(self, source: UpstreamRepository, tag: Tag) -> TagRow:
        """Ask the upstream where `tag` points, however fresh what is known may be; raises UpstreamError.

        What others were told while we waited for our turn does not count: their question may be older than ours.
        """
        while True:
            async with self._claim(source, tag) as claim:
                if claim.inherited is None:
                    return await self._ask_for_all(source, tag, claim)

    async def get_moved(self, source: UpstreamRepository, tag: Tag) -> FetchedManifest:
        """Get the manifest by its tag, whose digest the upstream does not have: it has moved, or HEAD named another."""
        failure = self._find_recent_failure(source, tag)
        if failure is not None:
            raise failure.error()
        return await asyncio.shield(self._moves.start_or_join((source.name, tag), lambda: self._get(source, tag)))

    async def _get(self, source: UpstreamRepository, tag: Tag) -> FetchedManifest:
        asked_at = self._clock.now()
        try:
            fetched = await source.online().get_manifest(source.repository, tag, max_size=self._keeper.max_size)
            await self._keeper.keep(source, fetched)
        except UpstreamNotFound as answer:
            await self._recorder.record_absence(source, "tag", tag, answer)
            raise
        except UpstreamError as error:
            question = self._questions[source.name, tag] = _Question(asked_at=self._clock.monotonic())
            self._stay_quiet((source.name, tag), question, error)
            raise
        await self._recorder.record_tag(_row_of_manifest(source, tag, fetched, asked_at))
        return fetched

    async def _revalidate(self, source: UpstreamRepository, tag: Tag, row: TagRow) -> ResolvedTag:
        now = self._clock.monotonic()
        failure = self._find_recent_failure(source, tag)
        if failure is not None and failure.kind in _STALE_KINDS:
            return self._resolved(source, row, known=row, stale_because=str(failure.error()))
        flight = self._ask(source, tag)
        running = self._questions.get((source.name, tag))  # None: it has been answered this very moment
        patience = 0.0 if running is None else running.asked_at + STALE_AFTER_SECONDS - now
        await asyncio.wait([flight], timeout=max(0.0, patience))
        if not flight.done():
            return self._resolved(source, row, known=row, stale_because=f"{source.upstream} is slow")
        try:
            return self._resolved(source, flight.result(), known=row)
        except _STALE_IF as error:
            return self._resolved(source, row, known=row, stale_because=str(error))

    def _ask(self, source: UpstreamRepository, tag: Tag) -> asyncio.Task[TagRow]:
        key = (source.name, tag)
        if self._flights.find(key) is None:
            self._questions[key] = _Question(asked_at=self._clock.monotonic())
        return self._flights.start_or_join(key, lambda: self._ask_once(source, tag))

    async def _ask_once(self, source: UpstreamRepository, tag: Tag) -> TagRow:
        """Ask the upstream, or get the answer that another process got while we waited for it."""
        question = self._questions[source.name, tag]
        try:
            row = await self._ask_in_turn(source, tag)
        except UpstreamError as error:
            self._stay_quiet((source.name, tag), question, error)
            raise
        self._questions.pop((source.name, tag), None)
        return row

    async def _ask_in_turn(self, source: UpstreamRepository, tag: Tag) -> TagRow:
        async with self._claim(source, tag) as claim:
            if claim.inherited is not None:
                return _row_of(decode_outcome(claim.inherited), source, tag)
            known = await self._recorder.find_tag(source.name, tag)
            if known is not None and self._state(source, known) is TagState.FRESH:
                return known
            return await self._ask_for_all(source, tag, claim)

    def _claim(self, source: UpstreamRepository, tag: Tag) -> AbstractAsyncContextManager[Claim]:
        return self._leases.claim(f"tag {source.name} {tag}")

    async def _ask_for_all(self, source: UpstreamRepository, tag: Tag, claim: Claim) -> TagRow:
        """Ask, and leave the outcome to those who wait for the claim, which is ours."""
        try:
            row = await self._ask_upstream(source, tag)
        except UpstreamError as error:
            claim.settle(encode_outcome(failure_of(error)))
            raise
        claim.settle(encode_outcome(TagAnswer(str(row.digest), row.media_type, row.size, row.checked_at)))
        return row

    async def _ask_upstream(self, source: UpstreamRepository, tag: Tag) -> TagRow:
        asked_at = self._clock.now()
        try:
            row = await self._head_or_get(source, tag, asked_at)
        except UpstreamNotFound as answer:
            await self._recorder.record_absence(source, "tag", tag, answer)
            raise
        await self._recorder.record_tag(row)
        return row

    async def _head_or_get(self, source: UpstreamRepository, tag: Tag, asked_at: float) -> TagRow:
        client = source.online()
        head = await client.head_manifest(source.repository, tag)
        digest, media_type, size = head.digest, head.media_type, head.size
        if digest is None or size is None or media_types.is_generic(media_type):
            fetched = await client.get_manifest(source.repository, tag, max_size=self._keeper.max_size)
            await self._keeper.keep(source, fetched)
            return _row_of_manifest(source, tag, fetched, asked_at)
        if media_types.is_schema1(media_type):
            raise SchemaOneOnly(source.upstream)
        return TagRow(
            repository=source.name, tag=tag, digest=digest, media_type=media_type, size=size, checked_at=asked_at
        )

    def _stay_quiet(self, key: tuple[str, Tag], question: _Question, error: UpstreamError) -> None:
        """Do not ask again at once what has just failed: a stale digest, or the same failure, comes without waiting."""
        wait = _QUIET_SECONDS
        if isinstance(error, UpstreamRateLimited) and error.retry_after is not None:
            wait = min(max(wait, error.retry_after), _LONGEST_QUIET_SECONDS)
        question.quiet_until = self._clock.monotonic() + wait
        question.failure = failure_of(error)
        asyncio.get_running_loop().call_later(wait, self._forget, key, question)

    def _find_recent_failure(self, source: UpstreamRepository, tag: Tag) -> Failure | None:
        question = self._questions.get((source.name, tag))
        return question.failure if question is not None and self._clock.monotonic() < question.quiet_until else None

    def _forget(self, key: tuple[str, Tag], question: _Question) -> None:
        if self._questions.get(key) is question:
            del self._questions[key]

    def _state(self, source: UpstreamRepository, row: TagRow) -> TagState:
        tag = Tag(row.tag)
        return decide_tag(source.freshness, tag, row.checked_at, self._clock.now(), offline=source.is_offline)

    def _resolved(
        self, source: UpstreamRepository, row: TagRow, *, known: TagRow | None, stale_because: str = ""
    ) -> ResolvedTag:
        return ResolvedTag(
            digest=row.digest,
            media_type=row.media_type,
            size=row.size,
            was_known=known is not None and known.digest == row.digest,
            age_seconds=max(0, int(self._clock.now() - row.checked_at)),
            fresh_until=0.0 if stale_because else row.checked_at + fresh_seconds(source.freshness, Tag(row.tag)),
            stale_because=stale_because,
        )


def _row_of_manifest(source: UpstreamRepository, tag: Tag, fetched: FetchedManifest, asked_at: float) -> TagRow:
    return TagRow(
        repository=source.name,
        tag=tag,
        digest=fetched.digest,
        media_type=fetched.media_type,
        size=len(fetched.body),
        checked_at=asked_at,
    )


def _row_of(outcome: Outcome, source: UpstreamRepository, tag: Tag) -> TagRow:
    if isinstance(outcome, Failure):
        raise outcome.error()
    if not isinstance(outcome, TagAnswer):
        raise UpstreamMisbehaved(source.upstream, "another worker answered another question")
    return TagRow(
        repository=source.name,
        tag=tag,
        digest=parse_digest(outcome.digest),
        media_type=outcome.media_type,
        size=outcome.size,
        checked_at=outcome.checked_at,
    )
