"""One upstream registry, with its mirrors: what the jobs ask of it.

Every question raises UpstreamError, and is answered within `answer_within`: token, redirects and mirrors together.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from yarl import URL

from proxycache.clock import Clock
from proxycache.events import Events
from proxycache.oci.digest import Digest
from proxycache.oci.names import Reference, RepositoryName
from proxycache.upstream import blobs, lists, manifests
from proxycache.upstream.blobs import UpstreamBlob, WantedBlob
from proxycache.upstream.errors import UpstreamNotFound, UpstreamUnauthorized
from proxycache.upstream.lists import FetchedReferrers, TagPage
from proxycache.upstream.manifests import FetchedManifest, ManifestHead
from proxycache.upstream.mirrors import Mirrors
from proxycache.upstream.settings import UpstreamSettings, tls_context
from proxycache.upstream.source import Source, Surroundings

__all__ = ["FetchedManifest", "FetchedReferrers", "ManifestHead", "TagPage", "UpstreamBlob", "UpstreamClient"]

T = TypeVar("T")


class UpstreamClient:
    """Asks one upstream. It opens nothing before the first question, which needs a running event loop.

    Raises ValueError for a `ca_file` or a proxy in the environment that cannot be used. `via` is how this cache calls
    itself to others, so that a loop can be noticed.
    """

    def __init__(self, settings: UpstreamSettings, *, events: Events, clock: Clock, via: str) -> None:
        self.name = settings.name
        self.settings = settings
        self.has_credentials = bool(settings.username or settings.docker_config or settings.credential_helper)
        surroundings = Surroundings(settings=settings, tls=tls_context(settings), via=via, events=events, clock=clock)
        self._mirrors = Mirrors(
            [Source(URL(mirror), surroundings) for mirror in settings.mirrors],
            Source(URL(settings.url), surroundings),
            answer_within=settings.answer_within,
            clock=clock,
        )
        self._users = 0
        self._is_retired = False

    async def head_manifest(
        self, repository: RepositoryName, reference: Reference, *, is_anonymous: bool = False
    ) -> ManifestHead:
        """Return what `reference` is now, without its bytes; `is_anonymous`: as the upstream tells everybody."""

        async def ask(source: Source) -> ManifestHead:
            return await manifests.head_manifest(source, repository, reference, is_anonymous=is_anonymous)

        return await self._ask(ask, avoid=self._mirrors.mirror_names if is_anonymous else frozenset())

    async def get_manifest(self, repository: RepositoryName, reference: Reference, *, max_size: int) -> FetchedManifest:
        """Return the exact bytes; asked for by digest, they are the right ones. `max_size` is in bytes."""
        return await self._ask(lambda source: manifests.get_manifest(source, repository, reference, max_size=max_size))

    async def head_blob(self, repository: RepositoryName, digest: Digest, *, is_anonymous: bool = False) -> int:
        """Return a blob's size; `is_anonymous`: as the upstream tells everybody."""

        async def ask(source: Source) -> int:
            return await blobs.head_blob(source, repository, digest, is_anonymous=is_anonymous)

        return await self._ask(ask, avoid=self._mirrors.mirror_names if is_anonymous else frozenset())

    @asynccontextmanager
    async def open_blob(
        self,
        repository: RepositoryName,
        digest: Digest,
        *,
        start: int = 0,
        stop: int | None = None,
        avoid: frozenset[str] = frozenset(),
    ) -> AsyncIterator[UpstreamBlob]:
        """Open a blob at `start`, up to, not with, `stop`; its bytes are not verified.

        `avoid` names sources that are not to be asked again; when none is left, UpstreamMisbehaved is raised.
        """
        wanted = WantedBlob(repository=repository, digest=digest, start=start, stop=stop)
        async with self._in_use():
            blob = await self._mirrors.ask(lambda source: blobs.open_blob(source, wanted), avoid=avoid)
            try:
                yield blob
            finally:
                blob.close()

    async def list_tags(self, repository: RepositoryName, *, n: int | None, last: str | None) -> TagPage:
        """Return the page of at most `n` tags behind `last`."""
        return await self._ask(lambda source: lists.list_tags(source, repository, n=n, last=last), upstream_first=True)

    async def get_referrers(self, repository: RepositoryName, digest: Digest) -> FetchedReferrers | None:
        """Return what refers to `digest`, None where the upstream has no referrers API."""
        return await self._ask(lambda source: lists.get_referrers(source, repository, digest), upstream_first=True)

    async def is_public(self, repository: RepositoryName, reference: Reference | None) -> bool:
        """Return whether somebody without credentials can read this, or the repository's tags without `reference`.

        Raises UpstreamError where that could not be told.
        """

        async def ask_anonymously(source: Source) -> None:
            if reference is None:
                await lists.list_tags(source, repository, n=1, last=None, is_anonymous=True)
            else:
                await manifests.head_manifest(source, repository, reference, is_anonymous=True)

        try:
            await self._ask(ask_anonymously, avoid=self._mirrors.mirror_names)
        except (UpstreamUnauthorized, UpstreamNotFound):  # some registries hide what is private
            return False
        return True

    @property
    def sources(self) -> frozenset[str]:
        """The names of all sources, as `UpstreamBlob.source` gives them and `avoid` takes them."""
        return self._mirrors.names

    async def retire(self) -> None:
        """Close all connections once nobody uses them, now and whenever who still has this client has asked again."""
        self._is_retired = True
        await self._disconnect_if_done()

    async def close(self) -> None:
        """Close all connections; transfers that run break off."""
        await self._mirrors.close()

    async def _ask(
        self,
        attempt: Callable[[Source], Awaitable[T]],
        *,
        avoid: frozenset[str] = frozenset(),
        upstream_first: bool = False,
    ) -> T:
        async with self._in_use():
            return await self._mirrors.ask(attempt, avoid=avoid, upstream_first=upstream_first)

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            await self._disconnect_if_done()

    async def _disconnect_if_done(self) -> None:
        if self._is_retired and not self._users:
            await self._mirrors.disconnect()
