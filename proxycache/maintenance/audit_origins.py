"""Ask the origins of what is borrowed whether they still have it, and tell which images depend on one that does not.

Hourly, one process at a time, within a budget of questions: those that wait longest first, each once a day, or once
an hour where there is trouble. Where an origin is gone, or silent for a day, another one that has the blob takes its
place; else what is still held is adopted; what is left is an image at risk. Silence is not "no" (invariant 9): nothing
is forgotten for it.
"""

import logging
from collections.abc import Callable, Sequence

from proxycache.clock import Clock
from proxycache.events import Events, OriginsAudited
from proxycache.maintenance.schedule import run_hourly_in_turn
from proxycache.registry.adopt import Adopter
from proxycache.registry.borrow import Borrower, Verdict
from proxycache.store.audits import REPORT_AFTER_SECONDS, DueLoan, ImageAtRisk
from proxycache.store.leases import Leases
from proxycache.store.tables import Tables

logger = logging.getLogger(__name__)

MOST_QUESTIONS = 500
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
        silent: set[str] = set()
        for due in await self._tables.audits.list_due(now=self._clock.now(), most=MOST_QUESTIONS):
            # One question without an answer is enough for all of a repository: each may take its ten seconds.
            is_silent = due.origin.repository in silent
            verdict = Verdict.UNKNOWN if is_silent else await self._ask(due)
            if verdict is Verdict.UNKNOWN:
                silent.add(due.origin.repository)
            await self._note(due, verdict)
        at_risk = await self._tables.audits.list_at_risk(now=self._clock.now())
        self._events.emit(OriginsAudited(images_at_risk=len(at_risk)))
        return at_risk

    async def _ask(self, due: DueLoan) -> Verdict:
        origin = due.origin
        if due.is_known:
            return await self._borrower.confirm(origin)
        # It was gone, and may be back.
        found = await self._borrower.find_in(origin.digest, origin.repository, None)
        return Verdict.GONE if found is None else Verdict.HAS

    async def _note(self, due: DueLoan, verdict: Verdict) -> None:
        now, origin = self._clock.now(), due.origin
        is_lost = verdict is Verdict.GONE
        if verdict is Verdict.UNKNOWN:
            await self._tables.audits.note_silence(origin, now=now)
            is_lost = due.silent_since is not None and now - due.silent_since >= REPORT_AFTER_SECONDS
        else:
            await self._tables.audits.note_answer(origin, now=now)
        if is_lost:
            await self._mend(due)

    async def _mend(self, due: DueLoan) -> None:
        digest, origin = due.origin.digest, due.origin.repository
        facts = {"digest": str(digest), "origin": origin}
        another = (await self._borrower.offer([digest], None, loaned=[digest])).borrowed.get(digest)
        if another is not None and another.repository != origin:
            await self._tables.loans.move(digest, origin, another, now=self._clock.now())
            logger.warning("origin lost, another one has it", extra={**facts, "another": another.repository})
        elif await self._adopter.adopt_held(digest, origin):
            logger.warning("origin lost, adopted what was held", extra=facts)


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
