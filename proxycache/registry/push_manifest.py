"""Push a manifest: check it, find what it references, keep its exact bytes, then record it with its tags at once.

What a public upstream has is borrowed (registry/borrow). What the pusher may read elsewhere here, cached or of another
local repository, becomes the repository's own in the same transaction; what it may not read counts as missing, so that
naming a digest gives nobody its content.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.digest import Digest, digest_of
from proxycache.oci.errors import DigestInvalid, ManifestBlobUnknown, ManifestInvalid, OriginsSilent, RegistryError
from proxycache.oci.manifest import Manifest, check_own_media_type, manifest_media_type, parse_manifest
from proxycache.oci.names import Reference
from proxycache.registry.access import Caller, LocalRepository
from proxycache.registry.ask_origin import Verdict, is_manifest
from proxycache.registry.borrow import Borrower, Offer, confirm_until
from proxycache.registry.mount_blob import BlobMounter
from proxycache.registry.record import Recorder
from proxycache.registry.report_push import PushedImage, PushReporter
from proxycache.store.blobs import BlobStore
from proxycache.store.local_content import LocalContent
from proxycache.store.local_push import ManifestPush, Means, Needed, is_manifest_named
from proxycache.store.manifests import ManifestRow
from proxycache.store.origins import Origin

# More than any image or index has; each is looked for while others wait to write.
_MOST_REFERENCES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """A manifest as it came. `tags`: those that are to point to it besides `reference`."""

    reference: Reference
    body: bytes
    content_type: str
    tags: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedManifest:
    """What was recorded."""

    digest: Digest
    tags: tuple[str, ...]
    subject: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PushServices:
    """What pushing a manifest needs. `is_sparse`: what a manifest references may be missing."""

    blobs: BlobStore
    content: LocalContent
    recorder: Recorder
    mounter: BlobMounter
    borrower: Borrower
    reporter: PushReporter
    clock: Clock
    is_sparse: bool


class ManifestPusher:
    """Takes manifests into local repositories."""

    def __init__(self, services: PushServices) -> None:
        self._services = services

    async def push(self, repository: LocalRepository, request: PushRequest, caller: Caller) -> PushedManifest:
        """Record the manifest; durable, and seen by every worker, on return.

        Raises ManifestInvalid, DigestInvalid, ManifestBlobUnknown (naming each), or StoreError; then every tag points
        where it did before.
        """
        media_type = manifest_media_type(request.body, request.content_type)
        manifest = parse_manifest(request.body, media_type)
        check_own_media_type(request.body, media_type)
        digest = _digest(request)
        tags = tuple(dict.fromkeys([*_tags_of(request.reference), *request.tags]))
        needed = _needs(manifest)
        push = ManifestPush(
            repository=repository.name,
            row=_row(manifest, digest, len(request.body)),
            references=manifest.references(),
            needed=needed,
            means=await self._find_means(repository, needed, caller),
            tags=tags,
            is_sparse=self._services.is_sparse,
            pushed_at=self._services.clock.now(),
        )
        await self._record(push, request.body)
        self._services.reporter.report_soon(
            PushedImage(
                repository=repository.name,
                reference=str(request.reference),
                digest=digest,
                manifest=manifest,
                caller=caller,
            )
        )
        subject = manifest.subject.digest if manifest.subject else None
        return PushedManifest(digest=digest, tags=tags, subject=subject)

    async def _find_means(self, repository: LocalRepository, needed: Sequence[Needed], caller: Caller) -> Means:
        """Return whence what the repository does not own may come, and what that needs in turn.

        Raises ManifestBlobUnknown for what is nowhere, and OriginsSilent where nobody can tell.
        """
        means, looked_for, untold = Means(), set[Needed](), list[Origin]()
        until = confirm_until()
        while True:
            inventory = await self._services.content.take_stock(repository.name, needed, means)
            lacking = [each for each in inventory.missing if each not in looked_for]
            if not lacking:
                if inventory.missing and not self._services.is_sparse:
                    raise _refusal({each.digest for each in inventory.missing}, untold)
                return means
            looked_for.update(lacking)
            offer = await self._ask_origins(repository, {each.digest for each in lacking}, caller, until)
            more = await self._find_more(lacking, offer, caller)
            untold += offer.untold
            means = Means(granted=means.granted | more.granted, borrowed={**means.borrowed, **more.borrowed})

    async def _ask_origins(
        self, repository: LocalRepository, digests: Iterable[Digest], caller: Caller, until: float
    ) -> Offer:
        """Return what origins offer; what is a manifest is fetched, too: it is small, and needs more in turn."""
        content, borrower = self._services.content, self._services.borrower
        loaned = {digest for digest in digests if await content.find_loan(repository.name, digest) is not None}
        offer = await borrower.offer(digests, caller, loaned=loaned, until=until)
        manifests = [origin for origin in offer.borrowed.values() if is_manifest(origin)]
        verdicts = await borrower.fetch_manifests(manifests, until=until)
        offer.untold += [origin for origin in manifests if verdicts[origin.digest] is Verdict.UNKNOWN]
        return offer

    async def _find_more(self, lacking: Sequence[Needed], offer: Offer, caller: Caller) -> Means:
        """Return what of the `lacking` can be had: borrowed rather than owned, but for manifests."""
        granted: set[Digest] = set()
        borrowed: dict[Digest, Origin] = {}
        for each in lacking:
            origin = offer.borrowed.get(each.digest)
            if origin is not None and not each.is_manifest and not is_manifest(origin):
                borrowed[each.digest] = origin
            elif await self._may_take(each.digest, caller):
                granted.add(each.digest)
        return Means(granted=frozenset(granted), borrowed=borrowed)

    async def _may_take(self, digest: Digest, caller: Caller) -> bool:
        return self._services.blobs.has(digest) and await self._services.mounter.may_read(digest, None, caller)

    async def _record(self, push: ManifestPush, body: bytes) -> None:
        services, digest = self._services, push.row.digest
        async with services.recorder.publishing(digest):
            async with services.blobs.kept(digest):
                await services.blobs.put(digest, body)
                missing = await services.content.record_manifest(push)
            if missing:  # deleted since it was looked for
                await services.blobs.remove(digest, services.content.is_nobodys)
                raise ManifestBlobUnknown([str(each) for each in missing])


def _refusal(missing: Set[Digest], untold: Sequence[Origin]) -> RegistryError:
    """Return what a pusher is told: what to upload, or, if it is only that nobody could be asked, to come again."""
    silent = [origin for origin in untold if origin.digest in missing]
    unknown = missing - {origin.digest for origin in silent}
    if unknown:
        return ManifestBlobUnknown(sorted(map(str, unknown)))
    return OriginsSilent(sorted({origin.repository for origin in silent}))


def _digest(request: PushRequest) -> Digest:
    reference = request.reference
    if not isinstance(reference, Digest):
        return digest_of(request.body)
    if digest_of(request.body, reference.algorithm) != reference:
        raise DigestInvalid(str(reference))
    return reference


def _tags_of(reference: Reference) -> list[str]:
    return [] if isinstance(reference, Digest) else [reference]


def _needs(manifest: Manifest) -> list[Needed]:
    children, parts = manifest.required_children(), manifest.required_parts()
    if len(children) + len(parts) > _MOST_REFERENCES:
        raise ManifestInvalid(f"it references more than {_MOST_REFERENCES} others")
    named = [Needed(item.digest, is_manifest=is_manifest_named(item.media_type, in_index=True)) for item in children]
    return [*(Needed(item.digest, is_manifest=False) for item in parts), *named]


def _row(manifest: Manifest, digest: Digest, size: int) -> ManifestRow:
    return ManifestRow(
        digest=digest,
        media_type=manifest.media_type,
        size=size,
        subject=manifest.subject.digest if manifest.subject else None,
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
    )
