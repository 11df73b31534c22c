"""List a repository's tags: a local one's, or as its upstream has them; those held, where that cannot be asked.

A page has MOST_LISTED tags at most, also where none is asked for. An upstream is asked as we are: what is more than
some of them allow, they refuse.
"""

from dataclasses import dataclass

from proxycache.oci.errors import NameUnknown
from proxycache.oci.links import MOST_LISTED
from proxycache.registry.access import LocalRepository
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.tables import Tables
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamRateLimited, UpstreamUnreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class TagList:
    """A page of tags; `next_last` and `next_n` ask for the next one. `stale_because`: only held ones are here."""

    tags: list[str]
    next_last: str | None = None
    next_n: int | None = None
    stale_because: str = ""


class TagLister:
    """Lists tags."""

    def __init__(self, tables: Tables, recorder: Recorder) -> None:
        self._tables = tables
        self._recorder = recorder

    async def list_tags(self, source: UpstreamRepository, *, n: int | None, last: str | None) -> TagList:
        """Return a page of tags; raises UpstreamError where the upstream fails and none are held."""
        try:
            page = await source.online().list_tags(source.repository, n=n, last=last)
        except (UpstreamUnreachable, UpstreamRateLimited, UpstreamMisbehaved) as error:
            held = await self._list_held(source.name, n, last)
            if not held.tags and last is None:
                raise
            return TagList(tags=held.tags, next_last=held.next_last, next_n=held.next_n, stale_because=str(error))
        if len(page.tags) <= MOST_LISTED:
            return TagList(tags=page.tags, next_last=page.next_last, next_n=page.next_n)
        # One that sends all there is pages by nothing but order.
        tags = sorted(page.tags) if page.next_last is None else page.tags
        return TagList(tags=tags[:MOST_LISTED], next_last=tags[MOST_LISTED - 1], next_n=MOST_LISTED)

    async def list_local(self, repository: LocalRepository, *, n: int | None, last: str | None) -> TagList:
        """Return a page of a local repository's tags; raises NameUnknown where nothing was pushed, or StoreError."""
        page = await self._page(repository.name, n, last)
        if not page.tags and not await self._tables.local_content.is_known(repository.name):
            raise NameUnknown(repository.name)
        return page

    async def _list_held(self, name: str, n: int | None, last: str | None) -> TagList:
        return await self._recorder.known(self._page(name, n, last)) or TagList(tags=[])

    async def _page(self, name: str, n: int | None, last: str | None) -> TagList:
        if n == 0:
            return TagList(tags=[])
        count = MOST_LISTED if n is None else n
        tags = await self._tables.tags.list_tags(name, n=count + 1, last=last)
        if len(tags) <= count:
            return TagList(tags=tags)
        return TagList(tags=tags[:count], next_last=tags[count - 1], next_n=count)
