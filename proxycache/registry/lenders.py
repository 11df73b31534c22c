"""Who may lend a blob: the origins that the ledger knows and that everybody can read, opened for who asks.

What only our credentials can read neither lends nor counts: it takes no place among those that are asked, and what it
says of a blob's size contradicts nobody.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from proxycache.oci.digest import Digest
from proxycache.registry.access import Access, Caller
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.origins import Origin, Origins
from proxycache.upstream.errors import UpstreamError, UpstreamUnreachable

Item = TypeVar("Item")

_AT_ONCE = 16
_MOST_LENDERS = 16
# Longer than `Access.open_origin` waits before it says what it knew.
_OPEN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A blob, who asks for it, and until when (the event loop's time) an answer is of use.

    `is_loaned`: the repository that is asked for it borrows it already.
    """

    digest: Digest
    caller: Caller | None
    is_loaned: bool
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lender:
    """An origin that may be told, and whom to ask; `is_contradicted`: another one says another size."""

    origin: Origin
    source: UpstreamRepository
    is_contradicted: bool


@dataclass(slots=True)
class Admitted:
    """Who may lend, the one seen last first, and of whom that cannot be told.

    The latter is said of what is borrowed already. Of anything else it would tell that somebody has it, who may be
    private: not known to be public is then as good as not known at all.
    """

    lenders: list[Lender] = field(default_factory=list)
    untold: list[Origin] = field(default_factory=list)


@dataclass(slots=True)
class Sources:
    """Where a blob may be got, in order, and why others could not be told to be public."""

    opened: list[UpstreamRepository] = field(default_factory=list)
    untold: list[UpstreamError] = field(default_factory=list)


class Lenders:
    """Finds who may lend; asks nobody for the blob."""

    def __init__(self, access: Access, origins: Origins, registries: frozenset[str]) -> None:
        """`registries`: the upstreams that may be borrowed from; without any, nothing is."""
        self._access = access
        self._origins = origins
        self._registries = registries

    @property
    def is_on(self) -> bool:
        """Whether anything may be borrowed."""
        return bool(self._registries)

    async def admit(self, wanted: Wanted) -> Admitted:
        """Return who may lend the blob."""
        admitted = Admitted()
        if not (self.is_on or wanted.is_loaned):
            return admitted
        known = [each for each in await self._origins.list_origins(wanted.digest) if self._may_lend(each, wanted)]
        opened: list[tuple[Origin, UpstreamRepository]] = []
        for some in _in_lots(known):
            answers = await self._open_all([origin.repository for origin in some], wanted)
            for origin, answer in zip(some, answers, strict=True):
                if isinstance(answer, UpstreamError):
                    admitted.untold += [origin] if wanted.is_loaned else []
                elif answer is not None and not answer.is_offline:
                    opened.append((origin, answer))
            if len(opened) >= _MOST_LENDERS:
                break
        is_contradicted = len({origin.size for origin, _ in opened[:_MOST_LENDERS]}) > 1
        for origin, source in opened[:_MOST_LENDERS]:
            admitted.lenders.append(Lender(origin=origin, source=source, is_contradicted=is_contradicted))
        return admitted

    async def open(self, repository: str, wanted: Wanted) -> UpstreamRepository | None:
        """Return an upstream's repository if it may lend what is wanted, whether or not it is known to have it."""
        if not (wanted.is_loaned or _registry_of(repository) in self._registries):
            return None
        [answer] = await self._open_all([repository], wanted)
        return None if answer is None or isinstance(answer, UpstreamError) or answer.is_offline else answer

    async def list_sources(self, wanted: Wanted, first: str) -> Sources:
        """Return where a blob that is borrowed may be got: from `first`, then from who else is known to have it."""
        known = [origin.repository for origin in await self._origins.list_origins(wanted.digest)]
        sources = Sources()
        for some in _in_lots(list(dict.fromkeys([first, *known]))):
            for answer in await self._open_all(some, wanted):
                if isinstance(answer, UpstreamError):
                    sources.untold.append(answer)
                elif answer is not None:
                    sources.opened.append(answer)
            if len(sources.opened) >= _MOST_LENDERS:
                break
        return sources

    def _may_lend(self, origin: Origin, wanted: Wanted) -> bool:
        return wanted.is_loaned or _registry_of(origin.repository) in self._registries

    async def _open_all(
        self, repositories: Iterable[str], wanted: Wanted
    ) -> list[UpstreamRepository | UpstreamError | None]:
        """Open all at once, so that one that is late takes no time from another; an error says that it cannot be told.

        It takes half of the time that is left, since whoever is opened is to be asked then.
        """
        now = asyncio.get_running_loop().time()
        until = now + max((wanted.until - now) / 2, _OPEN_SECONDS)
        async with asyncio.TaskGroup() as opening:
            tasks = [opening.create_task(self._open(repository, wanted, until)) for repository in repositories]
        return [task.result() for task in tasks]

    async def _open(self, repository: str, wanted: Wanted, until: float) -> UpstreamRepository | UpstreamError | None:
        try:
            async with asyncio.timeout_at(until):
                return await self._access.open_origin(repository, None if wanted.is_loaned else wanted.caller)
        except UpstreamError as error:
            return error
        except TimeoutError:
            registry = _registry_of(repository)
            return UpstreamUnreachable(registry, "did not tell in time whether everybody can read it", timed_out=True)


def _registry_of(repository: str) -> str:
    return repository.partition("/")[0]


def _in_lots(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
