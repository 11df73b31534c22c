"""Images that are cached, to be purged."""

from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, digest_of
from proxycache.policy.eviction import BlobUse, worth
from proxycache.store.links import BlobRow
from proxycache.store.manifests import ManifestRow
from proxycache.store.purge import Purged, Wanted
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow

ALPINE, BUSYBOX = "docker.io/library/alpine", "docker.io/library/busybox"
BASE, OWN, THIRD = digest_of(b"base"), digest_of(b"own"), digest_of(b"third")


def blob_of(digest: Digest) -> BlobRow:
    return BlobRow(digest=digest, size=10, is_public=True, stored_at=1.0)


async def add_manifest(tables: Tables, name: str, content: str, *parts: Digest) -> Digest:
    """Hold a manifest; as for public content, only the first repository that pulled a part has a link to it."""
    manifest = digest_of(content.encode())
    for part in parts:
        if await tables.links.find(part) is None:
            await tables.links.record(blob_of(part), repository=name)
    references = [Descriptor(media_type="l", digest=part, size=10) for part in parts]
    row = ManifestRow(digest=manifest, media_type="m", size=10)
    await tables.manifests.record(row, references, blob_of(manifest), repository=name)
    return manifest


async def add_tag(tables: Tables, name: str, tag: str, digest: Digest) -> None:
    await tables.tags.record(TagRow(repository=name, tag=tag, digest=digest, media_type="m", size=10, checked_at=1.0))


async def add_image(tables: Tables, name: str, tag: str, *layers: Digest) -> Digest:
    manifest = await add_manifest(tables, name, f"{name}:{tag}", *layers)
    await add_tag(tables, name, tag, manifest)
    return manifest


async def use(tables: Tables, *digests: Digest, at: float) -> None:
    await tables.usage.record_uses(
        digests, lambda *use: worth(BlobUse(size=use[0], uses=use[1], is_manifest=use[2])), now=at
    )


async def purge(tables: Tables, wanted: Wanted) -> set[Digest]:
    """Purge, having been told before what would go; return which blobs do."""
    told = await tables.purge.forget(wanted, is_dry=True)
    purged = await tables.purge.forget(wanted, is_dry=False)
    assert told == purged
    return leaving(purged)


def leaving(purged: Purged) -> set[Digest]:
    return {item.digest for item in purged.leaving}
