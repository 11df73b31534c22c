"""Record what was pushed: whole and durably, or not at all.

Invariant 6 lives here: a tag points at a complete image or at what it pointed at before. A manifest and its tags are
recorded in one transaction that also finds everything the manifest references in its repository, or takes it in; what
removes content decides in transactions of the same kind, and one waits for the other.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import aiosqlite

from proxycache.oci import media_types
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.manifests import ManifestRow, record_facts
from proxycache.store.origins import Origin

_HAS_BLOB = "SELECT 1 FROM local_links WHERE repository = ? AND digest = ?"
_HAS_EITHER = """
    SELECT 1 WHERE EXISTS (SELECT 1 FROM local_links WHERE repository = ? AND digest = ?)
    OR EXISTS (SELECT 1 FROM local_manifests WHERE repository = ? AND digest = ?)
"""
_HAS_MANIFEST = "SELECT 1 FROM local_manifests WHERE repository = ? AND digest = ?"
_IS_HELD = "SELECT 1 FROM blobs WHERE digest = ? AND is_leaving = 0"
_FIND_MEDIA_TYPE = "SELECT media_type FROM manifests WHERE digest = ?"
_LIST_REFERENCES = """
    SELECT manifest_references.digest, manifest_references.media_type, manifests.media_type FROM manifest_references
    JOIN manifests ON manifests.digest = manifest_references.manifest
    WHERE manifest_references.manifest = ? ORDER BY manifest_references.digest
"""
_OWN = "UPDATE blobs SET is_owned = 1, is_leaving = 0 WHERE digest = ?"
_OWN_PUBLISHED = """
    INSERT INTO blobs (digest, size, is_public, stored_at, used_at, is_owned) VALUES (?, ?, 0, ?, ?, 1)
    ON CONFLICT (digest) DO UPDATE SET is_owned = 1, is_leaving = 0
"""
_LINK_BLOB = """
    INSERT INTO local_links (repository, digest, linked_at) VALUES (?, ?, ?)
    ON CONFLICT (repository, digest) DO UPDATE SET linked_at = excluded.linked_at
"""
# What came over the line, as often as it came (store/transfers).
_LINK_SENT = """
    INSERT INTO local_links (repository, digest, linked_at, sent_bytes) VALUES (?, ?, ?, ?)
    ON CONFLICT (repository, digest) DO UPDATE SET
        linked_at = excluded.linked_at, sent_bytes = local_links.sent_bytes + excluded.sent_bytes
"""
# When one origin was asked, and what it said, says nothing of another one.
_BORROW_BLOB = """
    INSERT INTO borrowed_links (repository, digest, origin, size, linked_at) SELECT ?, ?, ?, ?, ?
    WHERE NOT EXISTS (SELECT 1 FROM local_links WHERE repository = ? AND digest = ?)
    ON CONFLICT (repository, digest) DO UPDATE SET
        origin = excluded.origin, size = excluded.size, linked_at = excluded.linked_at,
        audited_at = CASE WHEN excluded.origin = borrowed_links.origin THEN borrowed_links.audited_at ELSE 0 END,
        silent_since = CASE WHEN excluded.origin = borrowed_links.origin THEN borrowed_links.silent_since END
"""
_END_LOAN = "DELETE FROM borrowed_links WHERE repository = ? AND digest = ?"
_LINK_MANIFEST = """
    INSERT INTO local_manifests (repository, digest, media_type, pushed_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type, pushed_at = excluded.pushed_at
"""
_SET_TAG = """
    INSERT INTO tags (repository, tag, digest, media_type, size, checked_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (repository, tag) DO UPDATE SET
        digest = excluded.digest, media_type = excluded.media_type, size = excluded.size,
        checked_at = excluded.checked_at
"""


@dataclass(frozen=True, slots=True)
class Needed:
    """What a manifest cannot be without: a blob, or another manifest. `is_manifest` None: either will do."""

    digest: Digest
    is_manifest: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Where what a repository lacks may come from: it is `granted` from wherever it lies here, or has an origin."""

    granted: frozenset[Digest] = frozenset()
    borrowed: Mapping[Digest, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBlob:
    """A blob whose bytes are here, for `repository` to serve. `published_at` is epoch seconds."""

    repository: str
    digest: Digest
    size: int
    published_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPush:
    """A manifest whose bytes are published, to be recorded for `repository` under `tags`.

    What of `needed` the repository does not own yet comes by `means`. `is_sparse`: what is missing is excused.
    `pushed_at` is epoch seconds.
    """

    repository: str
    row: ManifestRow
    references: Sequence[Descriptor]
    needed: Sequence[Needed]
    means: Means = Means()
    tags: Sequence[str] = ()
    is_sparse: bool = False
    pushed_at: float


@dataclass(slots=True)
class Inventory:
    """What of a manifest's needs a repository does not own: what it takes in, what it borrows, what is `missing`."""

    to_take: list[Needed] = field(default_factory=list)
    to_borrow: list[Origin] = field(default_factory=list)
    missing: list[Needed] = field(default_factory=list)


def record_blobs(connection: sqlite3.Connection, blobs: Sequence[PublishedBlob]) -> None:
    """*Blocking.* Own blobs that were sent and published, and let their repositories serve them."""
    owned = [(str(blob.digest), blob.size, blob.published_at, blob.published_at) for blob in blobs]
    connection.executemany(_OWN_PUBLISHED, owned)
    links = [(blob.repository, str(blob.digest), blob.published_at, blob.size) for blob in blobs]
    connection.executemany(_LINK_SENT, links)
    connection.executemany(_END_LOAN, [(blob.repository, str(blob.digest)) for blob in blobs])


async def borrow(connection: aiosqlite.Connection, repository: str, origin: Origin, now: float) -> None:
    """Let `repository` serve what an origin has; what it owns meanwhile stays that."""
    key = repository, str(origin.digest)
    await connection.execute(_BORROW_BLOB, (*key, origin.repository, origin.size, now, *key))


async def take_in(connection: aiosqlite.Connection, repository: str, needed: Needed, now: float) -> None:
    """Own what is held here, and let `repository` serve it."""
    digest = str(needed.digest)
    await connection.execute(_OWN, (digest,))
    if needed.is_manifest:
        for (media_type,) in await connection.execute_fetchall(_FIND_MEDIA_TYPE, (digest,)):
            await connection.execute(_LINK_MANIFEST, (repository, digest, media_type, now))
    else:
        await connection.execute(_LINK_BLOB, (repository, digest, now))
        await connection.execute(_END_LOAN, (repository, digest))


async def is_held(connection: aiosqlite.Connection, digest: Digest) -> bool:
    """Tell whether a blob is here to stay until this transaction ends."""
    return bool(await connection.execute_fetchall(_IS_HELD, (str(digest),)))


async def take_stock(
    connection: aiosqlite.Connection, repository: str, needed: Iterable[Needed], means: Means
) -> Inventory:
    """Return what of `needed`, and of what that needs in turn, the repository does not own.

    What it borrows already counts as lacking: whether its origin still has it is to be found out for each push.
    """
    inventory, seen, waiting = Inventory(), set[Needed](), list(needed)
    while waiting:
        each = waiting.pop()
        if each in seen or await _has(connection, repository, each):
            continue
        seen.add(each)
        if each.digest in means.borrowed and not each.is_manifest:
            inventory.to_borrow.append(means.borrowed[each.digest])
            continue
        found = await _find(connection, each) if each.digest in means.granted else None
        if found is None:
            inventory.missing.append(each)
            continue
        inventory.to_take.append(found)
        if found.is_manifest:
            waiting += await list_needs(connection, found.digest)
    return inventory


async def _has(connection: aiosqlite.Connection, repository: str, needed: Needed) -> bool:
    key = repository, str(needed.digest)
    if needed.is_manifest is None:
        return bool(await connection.execute_fetchall(_HAS_EITHER, key * 2))
    return bool(await connection.execute_fetchall(_HAS_MANIFEST if needed.is_manifest else _HAS_BLOB, key))


async def _find(connection: aiosqlite.Connection, needed: Needed) -> Needed | None:
    """Return what is held here as the manifest or the blob that it is; bytes alone are no manifest."""
    if not await is_held(connection, needed.digest):
        return None
    is_known = bool(await connection.execute_fetchall(_FIND_MEDIA_TYPE, (str(needed.digest),)))
    if needed.is_manifest is None:
        return Needed(needed.digest, is_manifest=is_known)
    return needed if is_known or not needed.is_manifest else None


async def list_needs(connection: aiosqlite.Connection, manifest: Digest) -> list[Needed]:
    """Return what a known manifest cannot be without; a layer that no registry may hand out, only if it is here."""
    needs = []
    for text, media_type, parent_type in await connection.execute_fetchall(_LIST_REFERENCES, (str(manifest),)):
        digest = parse_digest(text)
        if not media_types.is_nondistributable(media_type) or await is_held(connection, digest):
            in_index = media_types.is_index(parent_type)
            needs.append(Needed(digest, is_manifest=is_manifest_named(media_type, in_index=in_index)))
    return needs


def is_manifest_named(media_type: str, *, in_index: bool) -> bool | None:
    """Tell whether a reference of this type names a manifest; None: an index names it by a type that does not tell.

    BuildKit's caches are indexes that name layers.
    """
    if not in_index:
        return False
    return True if media_type in media_types.MANIFEST_TYPES else None


async def record_manifest(connection: aiosqlite.Connection, push: ManifestPush) -> list[Digest]:
    """Record a manifest and let its tags point to it; return what is missing: then nothing was recorded."""
    inventory = await take_stock(connection, push.repository, push.needed, push.means)
    if inventory.missing and not push.is_sparse:
        return [each.digest for each in inventory.missing]
    for needed in inventory.to_take:
        await take_in(connection, push.repository, needed, push.pushed_at)
    for origin in inventory.to_borrow:
        await borrow(connection, push.repository, origin, push.pushed_at)
    row, now = push.row, push.pushed_at
    digest = str(row.digest)
    await record_facts(connection, row, push.references)
    await connection.execute(_OWN_PUBLISHED, (digest, row.size, now, now))
    await connection.execute(_LINK_MANIFEST, (push.repository, digest, row.media_type, now))
    for tag in push.tags:
        await connection.execute(_SET_TAG, (push.repository, tag, digest, row.media_type, row.size, now))
    return []
