"""Borrow: a blob that a public upstream has need not be sent to us (DESIGN, "Borrow").

What may be offered is what everybody can read at an upstream that the configuration names, and nothing else, whoever
asks: neither another local repository's blobs nor what only our credentials can read (`Access.open_origin`).

A ledger entry counts for an hour, unless another one contradicts it. Then its origin is asked by HEAD; where that gives
no answer, the entry counts still, for a day at most where something is to rely on it. Where nobody is to be contacted
(`offline`), nothing is offered, since nobody could give it.

What a repository borrows already (`is_loaned`) may be had again from whoever everybody can read, also where no more is
to be borrowed from there.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from proxycache.clock import Clock
from proxycache.oci import media_types
from proxycache.oci.digest import Digest
from proxycache.registry.access import Access, Caller
from proxycache.registry.pull_manifest import ManifestPuller
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.origins import BLOB_TYPE, Origin, Origins
from proxycache.tasks import SingleFlight
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound, UpstreamUnauthorized

FRESH_SECONDS = 3_600.0
RELIABLE_SECONDS = 86_400.0
_LOOK_SECONDS = 2.0
_CONFIRM_SECONDS = 10.0
_AT_ONCE = 8
_MOST_ORIGINS = 16


class Verdict(Enum):
    """What an origin said of a blob."""

    HAS = "has"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Offer:
    """What of a push can be borrowed, and what nobody can tell, since its origins cannot be reached."""

    borrowed: dict[Digest, Origin] = field(default_factory=dict)
    untold: list[Origin] = field(default_factory=list)


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
        self._lenders = lenders
        self._questions: SingleFlight[tuple[str, Digest], Verdict] = SingleFlight()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @property
    def is_on(self) -> bool:
        """Whether anything may be borrowed."""
        return bool(self._lenders)

    async def find(self, digest: Digest, caller: Caller | None, *, is_loaned: bool = False) -> Origin | None:
        """Return an origin of the blob, as a pusher may be told at once, or None."""
        wanted = _Wanted(digest=digest, caller=caller, is_loaned=is_loaned, until=_from_now(_LOOK_SECONDS))
        return await self._find_among(_blobs(await self._list_known(wanted)), wanted)

    async def find_in(self, digest: Digest, repository: str, caller: Caller | None) -> Origin | None:
        """Return `repository`, an upstream's, as an origin of the blob if it is known to have it, or says so now."""
        wanted = _Wanted(digest=digest, caller=caller, is_loaned=False, until=_from_now(_LOOK_SECONDS))
        known = [each for each in _blobs(await self._list_known(wanted)) if each.origin.repository == repository]
        return await self._find_among(known, wanted) if known else await self._discover(repository, wanted)

    async def offer(
        self, digests: Iterable[Digest], caller: Caller | None, *, loaned: Collection[Digest] = ()
    ) -> Offer:
        """Return which of these an origin gives, each confirmed within the hour where that could be asked.

        `loaned` are those that the repository borrows already.
        """
        offer, until = Offer(), _from_now(_CONFIRM_SECONDS)
        try:
            async with asyncio.TaskGroup() as asking:
                for digest in dict.fromkeys(digests):
                    wanted = _Wanted(digest=digest, caller=caller, is_loaned=digest in loaned, until=until)
                    asking.create_task(self._offer(wanted, offer))
        except ExceptionGroup as failures:  # of the database, and one is like the other
            raise failures.exceptions[0] from None
        return offer

    async def list_sources(self, digest: Digest, first: str) -> list[UpstreamRepository]:
        """Return where the blob may be got: from `first`, an origin, then from any other that is known to have it."""
        known = [origin.repository for origin in await self._origins.list_origins(digest)]
        names = list(dict.fromkeys([first, *known]))[:_MOST_ORIGINS]
        opened = [await self._access.open_origin(name, None) for name in names]
        return [source for source in opened if source is not None]

    async def fetch_manifest(self, origin: Origin) -> Verdict:
        """Get a manifest, and so know what it needs, if its origin gives it now."""
        source = await self._access.open_origin(origin.repository, None)
        if source is None:
            return Verdict.GONE
        try:
            await self._manifests.pull(source, origin.digest, with_body=True)
        except (UpstreamNotFound, UpstreamUnauthorized):
            return Verdict.GONE
        except UpstreamError:
            return Verdict.UNKNOWN
        return Verdict.HAS

    async def confirm(self, origin: Origin) -> Verdict:
        """Ask the origin, whenever it was asked last; nothing is known of one that cannot be, or may not."""
        source = await self._access.open_origin(origin.repository, None)
        until = _from_now(_CONFIRM_SECONDS)
        return Verdict.UNKNOWN if source is None else await self._ask(source, origin, until=until)

    async def list_admitted(self, digest: Digest, caller: Caller | None) -> list[Origin]:
        """Return the origins that may be told to `caller`, the one seen last first; none of them is asked."""
        wanted = _Wanted(digest=digest, caller=caller, is_loaned=False, until=_from_now(_CONFIRM_SECONDS))
        known = [each.origin for each in await self._list_known(wanted)]
        return [origin for origin in known if await self._open(origin.repository, wanted) is not None]

    async def find_now(self, digest: Digest, size: int) -> Origin | None:
        """Return an origin that says now, whenever it was asked last, that it has the blob in this size."""
        wanted = _Wanted(digest=digest, caller=None, is_loaned=False, until=_from_now(_CONFIRM_SECONDS))
        for origin in [each.origin for each in await self._list_known(wanted)]:
            source = await self._open(origin.repository, wanted)
            if source is not None and await self._ask_size(source, wanted) == size:
                return replace(origin, size=size, seen_at=self._clock.now())
        return None

    async def _find_among(self, known: Sequence["_Known"], wanted: "_Wanted") -> Origin | None:
        for each in known:
            source = await self._open(each.origin.repository, wanted)
            if source is None:
                continue
            if each.is_fresh or await self._ask(source, each.origin, until=wanted.until) is not Verdict.GONE:
                return each.origin
        return None

    async def _offer(self, wanted: "_Wanted", offer: Offer) -> None:
        untold = []
        for each in await self._list_known(wanted):
            source = await self._open(each.origin.repository, wanted)
            if source is None:
                continue
            verdict = Verdict.HAS if each.is_fresh else await self._ask_in_turn(source, each.origin, until=wanted.until)
            is_reliable = verdict is Verdict.UNKNOWN and self._age(each.origin) < RELIABLE_SECONDS
            if verdict is Verdict.HAS or is_reliable:
                offer.borrowed[wanted.digest] = each.origin
                return
            if verdict is Verdict.UNKNOWN:
                untold.append(each.origin)
        offer.untold += untold

    async def _list_known(self, wanted: "_Wanted") -> list["_Known"]:
        """Return who is known to have it; no entry is fresh where they do not agree how large it is."""
        if not (self._lenders or wanted.is_loaned):
            return []
        origins = await self._origins.list_origins(wanted.digest)
        is_agreed = len({origin.size for origin in origins}) == 1
        return [
            _Known(origin, is_fresh=is_agreed and self._age(origin) < FRESH_SECONDS)
            for origin in origins
            if wanted.is_loaned or _registry_of(origin.repository) in self._lenders
        ][:_MOST_ORIGINS]

    async def _open(self, repository: str, wanted: "_Wanted") -> UpstreamRepository | None:
        """Return the repository if it may lend, and that can be told in time."""
        if not (wanted.is_loaned or _registry_of(repository) in self._lenders):
            return None
        try:
            async with asyncio.timeout_at(wanted.until):
                source = await self._access.open_origin(repository, None if wanted.is_loaned else wanted.caller)
        except TimeoutError:
            return None
        return None if source is None or source.is_offline else source

    async def _discover(self, repository: str, wanted: "_Wanted") -> Origin | None:
        """Ask a repository that the ledger does not know to have the blob; a client says that it does."""
        source = await self._open(repository, wanted)
        size = None if source is None else await self._ask_size(source, wanted)
        if size is None:
            return None
        now = self._clock.now()
        origin = Origin(digest=wanted.digest, repository=repository, size=size, media_type=BLOB_TYPE, seen_at=now)
        await self._origins.record(origin)
        return origin

    async def _ask_size(self, source: UpstreamRepository, wanted: "_Wanted") -> int | None:
        try:
            async with asyncio.timeout_at(wanted.until):
                return await source.online().head_blob(source.repository, wanted.digest)
        except (UpstreamError, TimeoutError):
            return None

    async def _ask_in_turn(self, source: UpstreamRepository, origin: Origin, *, until: float) -> Verdict:
        try:
            async with asyncio.timeout_at(until), self._turns:
                return await self._ask(source, origin, until=until)
        except TimeoutError:
            return Verdict.UNKNOWN

    async def _ask(self, source: UpstreamRepository, origin: Origin, *, until: float) -> Verdict:
        """Ask the origin; a question that nobody waits for any longer is answered all the same."""
        flight = self._questions.start_or_join(
            (origin.repository, origin.digest), lambda: self._ask_once(source, origin)
        )
        done, _ = await asyncio.wait([flight], timeout=until - asyncio.get_running_loop().time())
        return flight.result() if done else Verdict.UNKNOWN

    async def _ask_once(self, source: UpstreamRepository, origin: Origin) -> Verdict:
        """Who has it in another size than it said does not have it."""
        size: int | None
        try:
            client = source.online()
            if _is_manifest(origin):
                size = (await client.head_manifest(source.repository, origin.digest)).size
            else:
                size = await client.head_blob(source.repository, origin.digest)
        except (UpstreamNotFound, UpstreamUnauthorized):
            size = -1
        except UpstreamError:
            return Verdict.UNKNOWN
        if size not in (None, origin.size):
            await self._origins.forget(origin.digest, origin.repository)
            return Verdict.GONE
        await self._origins.confirm([origin], now=self._clock.now())
        return Verdict.HAS

    def _age(self, origin: Origin) -> float:
        """A clock that was set back makes nothing younger."""
        return abs(self._clock.now() - origin.seen_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A blob, who asks for it, and until when (the event loop's time) an answer is of use."""

    digest: Digest
    caller: Caller | None
    is_loaned: bool
    until: float


@dataclass(frozen=True, slots=True)
class _Known:
    """An entry of the ledger; one that `is_fresh` counts without a question."""

    origin: Origin
    is_fresh: bool


def _from_now(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _registry_of(repository: str) -> str:
    return repository.partition("/")[0]


def _is_manifest(origin: Origin) -> bool:
    return origin.media_type in media_types.MANIFEST_TYPES


def _blobs(known: Iterable[_Known]) -> list[_Known]:
    """Return those that a client gets as a blob, which manifests are not."""
    return [each for each in known if not _is_manifest(each.origin)]
