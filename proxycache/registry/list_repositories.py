"""List the repositories of which something is held (the catalog)."""

from dataclasses import dataclass

from proxycache.oci.links import MOST_LISTED
from proxycache.registry.access import Access, Caller
from proxycache.store.tables import Tables

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryList:
    """A page of canonical names; `next_last` and `next_n` ask for the next one."""

    names: list[str]
    next_last: str | None = None
    next_n: int | None = None


class RepositoryLister:
    """Lists repositories."""

    def __init__(self, tables: Tables, access: Access) -> None:
        self._tables = tables
        self._access = access

    async def list_names(self, caller: Caller, *, n: int | None, last: str | None) -> RepositoryList:
        """Return a page of what `caller` may know of, of MOST_LISTED names if none is asked for.

        Raises StoreError where the database cannot be read.
        """
        count = MOST_LISTED if n is None else n
        names: list[str] = []
        position = last
        while len(names) <= count:
            page = await self._tables.repositories.list_names(n=_PAGE, last=position)
            names += [name for name in page if await self._access.may_list(name, caller)]
            if len(page) < _PAGE:
                break
            position = page[-1]
        if len(names) <= count or not count:
            return RepositoryList(names=names[:count])
        return RepositoryList(names=names[:count], next_last=names[count - 1], next_n=count)
