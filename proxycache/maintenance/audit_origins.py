"""Ask the origins of what is borrowed whether they still have it, and tell which images depend on one that does not.

Hourly, one process at a time, within a budget of questions: those that wait longest first, each once a day, or once
an hour where there is trouble. Where an origin is gone, or silent for a day, another one that has the blob takes its
place; else what is still held is adopted; what is left is an image at risk. Silence is not "no" (invariant 9): nothing
is forgotten for it.

A question may take ten seconds, and a round has an hour: a registry that let some seconds pass without an answer counts
as silent for the rest of the round. One that fails at once speaks for the one blob only.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from proxycache.clock import Clock
from proxycache.events import Events, OriginsAudited
from proxycache.maintenance.schedule import run_hourly_in_turn
from proxycache.registry.adopt import Adopter
from proxycache.registry.borrow import Borrower, Verdict
from proxycache.store.audits import REPORT_AFTER_SECONDS, DueLoan, ImageAtRisk
from proxycache.store.leases import Leases
from proxycache.store.origins import Origin
from proxycache.store.tables import Tables

logger = logging.getLogger(__name__)

MOST_QUESTIONS = 500
_PATIENCE_SECONDS = 5.0
_TELL_AGAIN_SECONDS = 86_400.0


class OriginAuditor:
    """Audits."""

    def __init__(self, tables: Tables, borrower: Borrower, adopter: Adopter, events: Events, clock: Clock) -> None:
        self._tables = tables
        self._borrower = borrower
        self._adopter = adopter
        self._events = events
        self._clock = clock

    async def audit(self) -> list[ImageAtRisk]:
        """Ask what is due, mend what can be, and return the images that are at risk then; raises StoreError."""
        questions = _Questions(self._borrower)
        for due in await self._tables.audits.list_due(now=self._clock.now(), most=MOST_QUESTIONS):
            verdict = await questions.ask(due.origin)
            if await self._note(due, verdict):
                await self._mend(due, questions)
        at_risk = await self._tables.audits.list_at_risk(now=self._clock.now())
        self._events.emit(OriginsAudited(images_at_risk=len(at_risk)))
        return at_risk

    async def _note(self, due: DueLoan, verdict: Verdict) -> bool:
        """Tell whether the origin is lost: gone, and not back, or silent for a day."""
        now, origin = self._clock.now(), due.origin
        if verdict is Verdict.UNKNOWN:
            since = await self._tables.audits.note_silence(origin, now=now)
            return now - since >= REPORT_AFTER_SECONDS or not due.is_known
        await self._tables.audits.note_answer(origin, now=now)
        if verdict is Verdict.HAS and not due.is_known:
            await self._tables.origins.record(replace(origin, seen_at=now))
        return verdict is Verdict.GONE

    async def _mend(self, due: DueLoan, questions: "_Questions") -> None:
        digest, origin = due.origin.digest, due.origin.repository
        facts = {"digest": str(digest), "origin": origin}
        for another in await self._list_others(due.origin):
            if await questions.ask(another) is Verdict.HAS:
                await self._tables.loans.move(digest, origin, another, now=self._clock.now())
                logger.warning("origin lost, another one has it", extra={**facts, "another": another.repository})
                return
        if await self._adopter.adopt_held(digest, origin):
            logger.warning("origin lost, adopted what was held", extra=facts)

    async def _list_others(self, lost: Origin) -> list[Origin]:
        """Return who else may lend the blob and is known to have it, of the size that its borrowers were told."""
        sources = await self._borrower.list_sources(lost.digest, lost.repository)
        names = {source.name for source in sources.opened} - {lost.repository}
        known = await self._tables.origins.list_origins(lost.digest)
        return [each for each in known if each.repository in names and each.size == lost.size]


class _Questions:
    """The questions of one round."""

    def __init__(self, borrower: Borrower) -> None:
        self._borrower = borrower
        self._waited: dict[str, float] = defaultdict(float)

    async def ask(self, origin: Origin) -> Verdict:
        """Ask, unless the registry has used up what patience there is."""
        registry, loop = origin.repository.partition("/")[0], asyncio.get_running_loop()
        if self._waited[registry] >= _PATIENCE_SECONDS:
            return Verdict.UNKNOWN
        began = loop.time()
        verdict = await self._borrower.confirm(origin)
        if verdict is Verdict.UNKNOWN:
            self._waited[registry] += loop.time() - began
        return verdict


class _Told:
    """Which images were told of, so that each is told of once a day."""

    def __init__(self) -> None:
        self._told_at: dict[str, float] = {}

    def tell(self, images: Sequence[ImageAtRisk], now: float) -> None:
        names = {image.name for image in images}
        self._told_at = {name: at for name, at in self._told_at.items() if name in names}
        for image in images:
            if now - self._told_at.get(image.name, float("-inf")) >= _TELL_AGAIN_SECONDS:
                self._told_at[image.name] = now
                why = "gone" if image.silent_since is None else "no answer"
                facts = {"image": image.name, "blobs": image.blobs, "origins": ", ".join(image.origins), "why": why}
                logger.error("image at risk", extra=facts)


async def audit_origins(current: Callable[[], OriginAuditor], leases: Leases, clock: Clock) -> None:
    """Audit now and hourly, for ever, as the `current` configuration wants it; of several workers one does."""
    told = _Told()

    async def audit() -> None:
        told.tell(await current().audit(), clock.now())

    await run_hourly_in_turn("audit origins", audit, leases)
