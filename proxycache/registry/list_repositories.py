"""List the repositories of which something is held (the catalog)."""

from dataclasses import dataclass

from proxycache.registry.access import Access, Caller
from proxycache.store.tables import Tables

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryList:
    """A page of canonical names; `next_last` asks for the next one."""

    names: list[str]
    next_last: str | None = None


class RepositoryLister:
    """Lists repositories."""

    def __init__(self, tables: Tables, access: Access) -> None:
        self._tables = tables
        self._access = access

    async def list_names(self, caller: Caller, *, n: int | None, last: str | None) -> RepositoryList:
        """Return a page of what `caller` may know of; raises StoreError where the database cannot be read."""
        names: list[str] = []
        position = last
        while n is None or len(names) <= n:
            page = await self._tables.repositories.list_names(n=_PAGE, last=position)
            names += [name for name in page if await self._access.may_list(name, caller)]
            if len(page) < _PAGE:
                break
            position = page[-1]
        if n is None or len(names) <= n:
            return RepositoryList(names=names)
        return RepositoryList(names=names[:n], next_last=names[n - 1] if n else None)
