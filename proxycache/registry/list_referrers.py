"""List what refers to a manifest (signatures, SBOMs): what was pushed, or an upstream's list and what is held of it.

An upstream without the referrers API is asked for the tag that stands for it (distribution-spec, "Referrers Tag
Schema"). Its list is kept like a tag: fresh for a while, then stale, which still counts when nobody answers. That
nothing refers to a digest is kept in memory only: anybody can ask about digests that nobody has ever heard of.

Pages are in the order of digests. Clients read one as they read a manifest, and may refuse it beyond 4 MiB
(distribution-spec, "Pushing Manifests"): none is larger, unless a single descriptor is.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from proxycache.clock import Clock
from proxycache.oci.digest import Digest
from proxycache.oci.names import Tag
from proxycache.registry.access import LocalRepository
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.documents import Document
from proxycache.store.manifests import ManifestRow
from proxycache.store.tables import Tables
from proxycache.tasks import SingleFlight
from proxycache.upstream.errors import (
    UpstreamMisbehaved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnreachable,
)

RawDescriptor = dict[str, Any]

_NOTHING = b"[]"
_MOST_EMPTY_LISTS = 4096
_MOST_LISTED = 1000
_MOST_BYTES = 4 * 1024 * 1024 - 1024  # without what stands around the descriptors


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a list is asked for: what comes behind the digest `last`, `n` at most if it says so."""

    n: int | None = None
    last: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrerList:
    """Descriptors as JSON values. `stale_because`: set when the upstream could not be asked.

    `next_last` asks for the next page.
    """

    descriptors: list[RawDescriptor]
    stale_because: str = ""
    next_last: str | None = None


class ReferrerLister:
    """Lists referrers."""

    def __init__(self, tables: Tables, recorder: Recorder, clock: Clock, *, max_size: int) -> None:
        self._tables = tables
        self._recorder = recorder
        self._clock = clock
        self._max_size = max_size
        self._flights: SingleFlight[tuple[str, Digest], list[RawDescriptor]] = SingleFlight()
        self._empty: OrderedDict[str, Document] = OrderedDict()

    async def list_referrers(
        self, source: UpstreamRepository, subject: Digest, artifact_type: str, window: Window
    ) -> ReferrerList:
        """Return what refers to `subject`, of `artifact_type` only if that is not empty; raises UpstreamError."""
        key = f"referrers {source.name} {subject}"
        known = await self._recorder.known(self._tables.documents.find(key)) or self._empty.get(key)
        listed, reason = await self._from_upstream(source, subject, key, known)
        held = await self._recorder.known(self._tables.manifests.list_referrers(source.name, subject)) or []
        merged = _merge(listed, held)
        page = _Page(window)
        for digest in sorted(digest for digest in merged if digest > window.last):
            descriptor = merged[digest]
            if artifact_type and descriptor.get("artifactType") != artifact_type:
                continue
            if not page.take(digest, descriptor):
                break
        return page.as_list(stale_because=reason)

    async def list_local(
        self, repository: LocalRepository, subject: Digest, artifact_type: str, window: Window
    ) -> ReferrerList:
        """Return a page of a local repository's referrers; raises StoreError."""
        page = _Page(window)
        found = self._tables.local_content.iterate_referrers(
            repository.name, subject, artifact_type, n=_MOST_LISTED + 1, last=window.last
        )
        async with contextlib.aclosing(found) as rows:
            async for row in rows:
                if not page.take(str(row.digest), _descriptor(row)):
                    break
        return page.as_list()

    async def _from_upstream(
        self, source: UpstreamRepository, subject: Digest, key: str, known: Document | None
    ) -> tuple[list[RawDescriptor], str]:
        if known is not None and 0 <= self._clock.now() - known.checked_at < _fresh_seconds(source, known):
            return msgspec.json.decode(known.body, type=list[RawDescriptor]), ""
        if source.is_offline and known is None:
            return [], ""  # everything held is fresh, and what is held is merged in
        flight = self._flights.start_or_join((source.name, subject), lambda: self._ask(source, subject, key))
        try:
            return await asyncio.shield(flight), ""
        except (UpstreamUnreachable, UpstreamRateLimited, UpstreamMisbehaved) as error:
            if known is None:
                raise
            return msgspec.json.decode(known.body, type=list[RawDescriptor]), str(error)

    async def _ask(self, source: UpstreamRepository, subject: Digest, key: str) -> list[RawDescriptor]:
        client = source.online()
        asked_at = self._clock.now()
        answer = await client.get_referrers(source.repository, subject)
        listed = await self._ask_by_tag(source, subject) if answer is None else answer.manifests
        await self._keep(key, Document(body=msgspec.json.encode(listed), checked_at=asked_at))
        return listed

    async def _keep(self, key: str, document: Document) -> None:
        """Keep an answer; an empty one takes a row only from a list that is no longer true."""
        self._empty.pop(key, None)
        if document.body != _NOTHING or await self._recorder.known(self._tables.documents.find(key)) is not None:
            await self._recorder.record_document(key, document.body, checked_at=document.checked_at)
            return
        self._empty[key] = document
        if len(self._empty) > _MOST_EMPTY_LISTS:
            self._empty.popitem(last=False)

    async def _ask_by_tag(self, source: UpstreamRepository, subject: Digest) -> list[RawDescriptor]:
        tag = Tag(f"{subject.algorithm}-{subject.encoded}"[:128])
        try:
            fetched = await source.online().get_manifest(source.repository, tag, max_size=self._max_size)
        except UpstreamNotFound:
            return []
        try:
            return msgspec.json.decode(fetched.body, type=_Index).manifests
        except msgspec.DecodeError as error:
            raise UpstreamMisbehaved(source.upstream, "its referrers tag names no index") from error


class _Index(msgspec.Struct):
    manifests: list[RawDescriptor]


def _fresh_seconds(source: UpstreamRepository, known: Document) -> float:
    return source.freshness.negative_for if known.body == _NOTHING else source.freshness.fresh_for


class _Page:
    """A page that is being filled."""

    def __init__(self, window: Window) -> None:
        self._descriptors: list[RawDescriptor] = []
        self._most_listed = min(window.n or _MOST_LISTED, _MOST_LISTED)
        self._free_bytes = _MOST_BYTES
        self._last = ""
        self._is_cut = False

    def take(self, digest: str, descriptor: RawDescriptor) -> bool:
        """Add a descriptor, or return False: then it is the first one of the next page."""
        size = len(msgspec.json.encode(descriptor)) + 1
        is_full = len(self._descriptors) == self._most_listed or size > self._free_bytes
        if is_full and self._descriptors:
            self._is_cut = True
            return False
        self._descriptors.append(descriptor)
        self._free_bytes -= size
        self._last = digest
        return True

    def as_list(self, stale_because: str = "") -> ReferrerList:
        next_last = self._last if self._is_cut else None
        return ReferrerList(descriptors=self._descriptors, stale_because=stale_because, next_last=next_last)


def _merge(listed: Iterable[RawDescriptor], held: Iterable[ManifestRow]) -> dict[str, RawDescriptor]:
    """Return what is known of each digest."""
    merged = {str(descriptor.get("digest")): descriptor for descriptor in listed}
    for row in held:
        merged.setdefault(str(row.digest), _descriptor(row))
    return merged


def _descriptor(row: ManifestRow) -> RawDescriptor:
    descriptor: RawDescriptor = {"mediaType": row.media_type, "digest": str(row.digest), "size": row.size}
    if row.artifact_type:
        descriptor["artifactType"] = row.artifact_type
    if row.annotations:
        descriptor["annotations"] = dict(row.annotations)
    return descriptor
