"""Push a manifest: check it, find what it references, keep its exact bytes, then record it with its tags at once.

What the pusher may read elsewhere here, cached or of another local repository, becomes the repository's own in the same
transaction; what it may not read counts as missing, so that naming a digest gives nobody its content.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.digest import Digest, digest_of
from proxycache.oci.errors import DigestInvalid, ManifestBlobUnknown
from proxycache.oci.manifest import Manifest, check_own_media_type, manifest_media_type, parse_manifest
from proxycache.oci.names import Reference
from proxycache.registry.access import Caller, LocalRepository
from proxycache.registry.mount_blob import BlobMounter
from proxycache.registry.record import Recorder
from proxycache.store.blobs import BlobStore
from proxycache.store.local_content import LocalContent
from proxycache.store.local_push import ManifestPush, Needed, is_manifest_named
from proxycache.store.manifests import ManifestRow


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
            granted=await self._find_grants(repository, needed, caller),
            tags=tags,
            is_sparse=self._services.is_sparse,
            pushed_at=self._services.clock.now(),
        )
        await self._record(push, request.body)
        subject = manifest.subject.digest if manifest.subject else None
        return PushedManifest(digest=digest, tags=tags, subject=subject)

    async def _find_grants(
        self, repository: LocalRepository, needed: Sequence[Needed], caller: Caller
    ) -> frozenset[Digest]:
        """Return what the repository lacks, is here, and may be read by the caller; what that needs in turn as well."""
        services = self._services
        granted: frozenset[Digest] = frozenset()
        while True:
            inventory = await services.content.take_stock(repository.name, needed, granted)
            found = [
                digest
                for digest in inventory.missing
                if digest not in granted
                and services.blobs.has(digest)
                and await services.mounter.may_read(digest, None, caller)
            ]
            if not found:
                if inventory.missing and not services.is_sparse:
                    raise ManifestBlobUnknown([str(digest) for digest in inventory.missing])
                return granted
            granted = granted.union(found)

    async def _record(self, push: ManifestPush, body: bytes) -> None:
        services, digest = self._services, push.row.digest
        async with services.recorder.publishing(digest):
            async with services.blobs.kept(digest):
                await services.blobs.put(digest, body)
                missing = await services.content.record_manifest(push)
            if missing:  # deleted since it was looked for
                await services.blobs.remove(digest, services.content.is_nobodys)
                raise ManifestBlobUnknown([str(each) for each in missing])


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
    return [
        Needed(item.digest, is_manifest=is_manifest_named(item.media_type, in_index=item in manifest.manifests))
        for item in manifest.required()
    ]


def _row(manifest: Manifest, digest: Digest, size: int) -> ManifestRow:
    return ManifestRow(
        digest=digest,
        media_type=manifest.media_type,
        size=size,
        subject=manifest.subject.digest if manifest.subject else None,
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
    )
