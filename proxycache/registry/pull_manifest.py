"""Pull a manifest by tag or digest: its exact bytes, or only what a HEAD tells, which costs the upstream no pull."""

import asyncio
from dataclasses import dataclass, replace

from proxycache.oci import media_types
from proxycache.oci.digest import Digest
from proxycache.oci.errors import ManifestInvalid
from proxycache.oci.manifest import recognise_manifest
from proxycache.oci.names import Tag
from proxycache.registry.keep_manifest import ManifestKeeper, SchemaOneOnly
from proxycache.registry.outcomes import Failure, Held, decode_outcome, encode_outcome, failure_of
from proxycache.registry.presence import Presence
from proxycache.registry.record import Recorder
from proxycache.registry.resolve_tag import TagResolver
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.leases import Leases
from proxycache.store.tags import TagRow
from proxycache.tasks import SingleFlight, run_to_end
from proxycache.upstream.client import FetchedManifest
from proxycache.upstream.errors import UpstreamError, UpstreamNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledManifest:
    """A manifest, or its facts: `body` is None when only those were asked for and it is not held.

    `fresh_until` (epoch, infinite for a digest): how long a tag's answer counts. `cache`: hit, miss or stale.
    """

    digest: Digest
    media_type: str
    size: int
    body: bytes | None
    cache: str
    fresh_until: float = float("inf")
    stale_because: str = ""
    age_seconds: int = 0


class ManifestPuller:
    """Gives manifests."""

    def __init__(
        self, presence: Presence, recorder: Recorder, resolver: TagResolver, keeper: ManifestKeeper, leases: Leases
    ) -> None:
        self._presence = presence
        self._recorder = recorder
        self._resolver = resolver
        self._keeper = keeper
        self._leases = leases
        self._flights: SingleFlight[tuple[str, Digest], FetchedManifest] = SingleFlight()

    async def pull(self, source: UpstreamRepository, reference: Tag | Digest, *, with_body: bool) -> PulledManifest:
        """Return the manifest that `reference` names; raises UpstreamError where it cannot be had."""
        if isinstance(reference, Digest):
            return await self._pull_digest(source, reference, with_body=with_body)
        tag = await self._resolver.resolve(source, reference)
        if with_body:
            try:
                manifest = await self._pull_digest(source, tag.digest, with_body=True)
            except UpstreamNotFound:
                return replace(
                    _pulled(await self._resolver.get_moved(source, reference), cache="miss"), fresh_until=0.0
                )
        else:
            manifest = PulledManifest(
                digest=tag.digest, media_type=tag.media_type, size=tag.size, body=None, cache="hit"
            )
        if not tag.was_known:
            manifest = replace(manifest, cache="miss")
        elif tag.stale_because:
            manifest = replace(manifest, cache="stale")
        return replace(
            manifest, fresh_until=tag.fresh_until, stale_because=tag.stale_because, age_seconds=tag.age_seconds
        )

    async def ask_now(self, source: UpstreamRepository, tag: Tag) -> TagRow:
        """Ask the upstream where `tag` points, whatever is fresh, and note the answer; raises UpstreamError."""
        return await self._resolver.ask_now(source, tag)

    async def _pull_digest(self, source: UpstreamRepository, digest: Digest, *, with_body: bool) -> PulledManifest:
        held = await self._read(source, digest)
        if held is not None:
            return _pulled(held, cache="hit")
        await self._recorder.check_absence(source, "manifest", str(digest))
        try:
            if not with_body:
                return await self._head(source, digest)
            return await self._join_fetch(source, digest)
        except UpstreamNotFound as answer:
            await self._recorder.record_absence(source, "manifest", str(digest), answer)
            raise

    async def _head(self, source: UpstreamRepository, digest: Digest) -> PulledManifest:
        head = await source.online().head_manifest(source.repository, digest)
        if media_types.is_schema1(head.media_type):
            raise SchemaOneOnly(source.upstream)
        if head.size is None or media_types.is_generic(head.media_type):
            return await self._join_fetch(source, digest)
        return PulledManifest(digest=digest, media_type=head.media_type, size=head.size, body=None, cache="miss")

    async def _join_fetch(self, source: UpstreamRepository, digest: Digest) -> PulledManifest:
        """Fetch it together with all who ask meanwhile; it goes on for the others, and to be kept, when they leave."""
        flight = self._flights.start_or_join((source.name, digest), lambda: self._fetch_in_turn(source, digest))
        return _pulled(await asyncio.shield(flight), cache="miss")

    async def _fetch_in_turn(self, source: UpstreamRepository, digest: Digest) -> FetchedManifest:
        """Fetch it, unless another process did while we waited for our turn."""
        async with self._leases.claim(f"manifest {source.name} {digest}") as claim:
            if claim.inherited is not None:
                outcome = decode_outcome(claim.inherited)
                if isinstance(outcome, Failure):
                    raise outcome.error()
            held = await self._read(source, digest)
            if held is not None:
                return held
            try:
                fetched = await self._fetch(source, digest)
            except UpstreamError as error:
                claim.settle(encode_outcome(failure_of(error)))
                raise
            claim.settle(encode_outcome(Held()))
            return fetched

    async def _fetch(self, source: UpstreamRepository, digest: Digest) -> FetchedManifest:
        fetched = await source.online().get_manifest(source.repository, digest, max_size=self._keeper.max_size)
        await self._keeper.keep(source, fetched)
        return fetched

    async def _read(self, source: UpstreamRepository, digest: Digest) -> FetchedManifest | None:
        """Return a manifest that is on disk and may be given, whether or not its row can be read."""
        held = await self._presence.find(source, digest, is_manifest=True)
        if held is None:
            return None
        with held:
            if held.size > self._keeper.max_size:
                return None
            body = await run_to_end(held.file.read, held.size)
        row = await self._recorder.find_manifest(digest)
        try:
            media_type = row.media_type if row is not None else recognise_manifest(body)
        except ManifestInvalid:
            return None  # a blob that is no manifest, asked for as one
        return FetchedManifest(digest=digest, media_type=media_type, body=body)


def _pulled(fetched: FetchedManifest, *, cache: str) -> PulledManifest:
    return PulledManifest(
        digest=fetched.digest, media_type=fetched.media_type, size=len(fetched.body), body=fetched.body, cache=cache
    )
