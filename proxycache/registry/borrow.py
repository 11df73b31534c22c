"""Borrow: a blob that a public upstream has need not be sent to us (DESIGN, "Borrow").

What may be offered is what everybody can read at an upstream that the configuration names, and nothing else, whoever
asks: neither another local repository's blobs nor what only our credentials can read (registry/lenders).

A ledger entry counts for an hour, unless another one contradicts it. Then its origin is asked by HEAD; where that gives
no answer, the entry counts still, unless contradicted, for a day at most where something is to rely on it. Where nobody
is to be contacted (`offline`), nothing is offered, since nobody could give it.

What a repository borrows already (`is_loaned`) may be had again from whoever everybody can read, also where no more is
to be borrowed from there.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.oci.errors import ManifestInvalid
from proxycache.oci.manifest import parse_manifest
from proxycache.registry.access import Access, Caller
from proxycache.registry.ask_origin import OriginAsker, Verdict, is_manifest
from proxycache.registry.lenders import Admitted, Lender, Lenders, Sources, Wanted
from proxycache.registry.pull_manifest import ManifestPuller, PulledManifest
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.origins import BLOB_TYPE, Origin, Origins, origins_in
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound, UpstreamUnauthorized

__all__ = ["Borrower", "Offer", "Sources", "Verdict", "confirm_until"]

FRESH_SECONDS = 3_600.0
RELIABLE_SECONDS = 86_400.0
_LOOK_SECONDS = 2.0
_CONFIRM_SECONDS = 10.0
_AT_ONCE = 8
_NEVER = 0.0


@dataclass(slots=True)
class Offer:
    """What of a push can be borrowed, and what nobody can tell, since its origins cannot be reached."""

    borrowed: dict[Digest, Origin] = field(default_factory=dict)
    untold: list[Origin] = field(default_factory=list)


def confirm_until() -> float:
    """Return until when (the event loop's time) origins may be asked for a push that begins now."""
    return _from_now(_CONFIRM_SECONDS)


class Borrower:
    """Finds origins, and asks them."""

    def __init__(
        self, access: Access, origins: Origins, manifests: ManifestPuller, clock: Clock, *, lenders: frozenset[str]
    ) -> None:
        """`lenders`: the upstreams that may be borrowed from; without any, nothing is."""
        self._access = access
        self._manifests = manifests
        self._origins = origins
        self._clock = clock
        self._lenders = Lenders(access, origins, lenders)
        self._asker = OriginAsker(origins, clock)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @property
    def is_on(self) -> bool:
        """Whether anything may be borrowed."""
        return self._lenders.is_on

    async def find(self, digest: Digest, caller: Caller | None, *, is_loaned: bool = False) -> Origin | None:
        """Return an origin of the blob, as a pusher may be told at once, or None."""
        wanted = _look_for(digest, caller, is_loaned=is_loaned)
        return await self._find_among(_blobs(await self._lenders.admit(wanted)), wanted)

    async def find_in(self, digest: Digest, repository: str, caller: Caller | None) -> Origin | None:
        """Return `repository`, an upstream's, as an origin of the blob if it is known to have it, or says so now."""
        wanted = _look_for(digest, caller)
        admitted = _blobs(await self._lenders.admit(wanted))
        known = [each for each in admitted if each.origin.repository == repository]
        return await self._find_among(known, wanted) if known else await self._discover(repository, wanted)

    async def offer(
        self,
        digests: Iterable[Digest],
        caller: Caller | None,
        *,
        loaned: Collection[Digest] = (),
        until: float | None = None,
    ) -> Offer:
        """Return which of these an origin gives, each confirmed within the hour where that could be asked.

        `loaned` are those that the repository borrows already.
        """
        offer, until = Offer(), confirm_until() if until is None else until
        wanted = [
            Wanted(digest=digest, caller=caller, is_loaned=digest in loaned, until=until)
            for digest in dict.fromkeys(digests)
        ]
        await _at_once(self._offer(each, offer) for each in wanted)
        return offer

    async def list_sources(self, digest: Digest, first: str) -> Sources:
        """Return where the blob may be got: from `first`, an origin, then from any other that is known to have it."""
        return await self._lenders.list_sources(_confirm(digest, is_loaned=True), first)

    async def fetch_manifests(self, origins: Iterable[Origin], *, until: float) -> dict[Digest, Verdict]:
        """Get manifests, and so know what they need, where their origins give them now."""
        verdicts: dict[Digest, Verdict] = {}

        async def fetch(origin: Origin) -> None:
            verdicts[origin.digest] = await self._in_turn(lambda: self._fetch_manifest(origin), until)

        await _at_once(fetch(origin) for origin in origins)
        return verdicts

    async def confirm(self, origin: Origin) -> Verdict:
        """Ask the origin, whenever it was asked last; nothing is known of one that cannot be, or may not."""
        until = confirm_until()
        try:
            source = await self._access.open_origin(origin.repository, None)
        except UpstreamError:
            return Verdict.UNKNOWN
        return Verdict.UNKNOWN if source is None else await self._asker.ask(source, origin, until=until)

    async def list_admitted(self, digest: Digest, caller: Caller | None) -> list[Origin]:
        """Return the origins that may be told to `caller`, the one seen last first; none of them is asked."""
        return [each.origin for each in (await self._lenders.admit(_confirm(digest, caller))).lenders]

    async def find_now(self, digest: Digest, size: int) -> Origin | None:
        """Return an origin that says now, whenever it was asked last, that it has the blob in this size."""
        wanted = _confirm(digest)
        for each in (await self._lenders.admit(wanted)).lenders:
            if await self._asker.ask_size(each.source, digest, until=wanted.until) == size:
                return replace(each.origin, size=size, seen_at=self._clock.now())
        return None

    async def _find_among(self, lenders: Sequence[Lender], wanted: Wanted) -> Origin | None:
        """Return one that has it, else one that is silent; silence does not settle who contradicts whom."""

        async def ask(lender: Lender) -> Verdict:
            return await self._asker.ask(lender.source, lender.origin, until=wanted.until)

        found, silent = await self._choose(lenders, ask)
        return found or next((each.origin for each in silent if not each.is_contradicted), None)

    async def _offer(self, wanted: Wanted, offer: Offer) -> None:
        async def ask(lender: Lender) -> Verdict:
            return await self._in_turn(
                lambda: self._asker.ask(lender.source, lender.origin, until=wanted.until), wanted.until
            )

        admitted = await self._lenders.admit(wanted)
        found, silent = await self._choose(admitted.lenders, ask)
        origin = found or next((each.origin for each in silent if self._is_reliable(each)), None)
        if origin is not None:
            offer.borrowed[wanted.digest] = origin
        else:
            offer.untold += [*(each.origin for each in silent), *admitted.untold]

    async def _choose(
        self, lenders: Iterable[Lender], ask: Callable[[Lender], Awaitable[Verdict]]
    ) -> tuple[Origin | None, list[Lender]]:
        """Return the first that has it; None if nobody is known to, and then those that did not say."""
        silent = []
        for each in lenders:
            is_fresh = not each.is_contradicted and self._age(each.origin) < FRESH_SECONDS
            verdict = Verdict.HAS if is_fresh else await ask(each)
            if verdict is Verdict.HAS:
                return each.origin, []
            if verdict is Verdict.UNKNOWN:
                silent.append(each)
        return None, silent

    async def _discover(self, repository: str, wanted: Wanted) -> Origin | None:
        """Ask a repository that the ledger does not know to have the blob; a client says that it does."""
        source = await self._lenders.open(repository, wanted)
        size = None if source is None else await self._asker.ask_size(source, wanted.digest, until=wanted.until)
        if size is None:
            return None
        now = self._clock.now()
        origin = Origin(digest=wanted.digest, repository=repository, size=size, media_type=BLOB_TYPE, seen_at=now)
        await self._origins.record(origin)
        return origin

    async def _fetch_manifest(self, origin: Origin) -> Verdict:
        """Its bytes may be here: then its origin says whether it may give them, if that is not known."""
        has_credentials = False
        try:
            source = await self._access.open_origin(origin.repository, None)
            if source is None:
                return Verdict.GONE
            has_credentials = source.client.has_credentials
            await self._learn(source, await self._manifests.pull(source, origin.digest, with_body=True))
        except UpstreamError as error:
            is_refused = isinstance(error, UpstreamUnauthorized) and not has_credentials
            return Verdict.GONE if is_refused or isinstance(error, UpstreamNotFound) else Verdict.UNKNOWN
        return Verdict.HAS

    async def _learn(self, source: UpstreamRepository, pulled: PulledManifest) -> None:
        """Note what a manifest names that was here already, maybe by another repository's name: as never seen there."""
        if pulled.cache != "hit" or pulled.body is None:
            return
        with contextlib.suppress(ManifestInvalid):
            named = parse_manifest(pulled.body, pulled.media_type).references()
            await self._origins.record(*origins_in(source.name, named, seen_at=_NEVER))

    async def _in_turn(self, ask: Callable[[], Awaitable[Verdict]], until: float) -> Verdict:
        try:
            async with asyncio.timeout_at(until), self._turns:
                return await ask()
        except TimeoutError:
            return Verdict.UNKNOWN

    def _is_reliable(self, lender: Lender) -> bool:
        return not lender.is_contradicted and self._age(lender.origin) < RELIABLE_SECONDS

    def _age(self, origin: Origin) -> float:
        """A clock that was set back makes nothing younger."""
        return abs(self._clock.now() - origin.seen_at)


def _look_for(digest: Digest, caller: Caller | None, *, is_loaned: bool = False) -> Wanted:
    return Wanted(digest=digest, caller=caller, is_loaned=is_loaned, until=_from_now(_LOOK_SECONDS))


def _confirm(digest: Digest, caller: Caller | None = None, *, is_loaned: bool = False) -> Wanted:
    return Wanted(digest=digest, caller=caller, is_loaned=is_loaned, until=confirm_until())


def _from_now(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _blobs(admitted: Admitted) -> list[Lender]:
    """Return those that a client gets as a blob, which manifests are not."""
    return [each for each in admitted.lenders if not is_manifest(each.origin)]


async def _at_once(work: Iterable[Coroutine[object, object, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except ExceptionGroup as failures:  # of the database, and one is like the other
        raise failures.exceptions[0] from None
