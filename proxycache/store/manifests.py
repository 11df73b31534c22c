"""What was read in manifests; their exact bytes are blobs (invariant 10).

A manifest never changes, so its rows are written once: who records it again adds a link, nothing more. Excepted are
bytes that came under a type of which nobody here knows what it says, and that come under a known one later.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiosqlite

from proxycache.oci import media_types
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database
from proxycache.store.links import BlobRow, record_blob
from proxycache.store.origins import origins_in, record_origins
from proxycache.store.scarcity import note_given, note_manifest_gone

_FIND = "SELECT digest, media_type, size, subject, artifact_type, annotations FROM manifests WHERE digest = ?"
_RECORD = """
    INSERT INTO manifests (digest, media_type, size, subject, artifact_type, annotations) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (digest) DO UPDATE SET
        media_type = excluded.media_type, subject = excluded.subject, artifact_type = excluded.artifact_type,
        annotations = excluded.annotations
    WHERE manifests.media_type NOT IN (?, ?, ?, ?) AND excluded.media_type IN (?, ?, ?, ?)
"""
# What an upstream calls it counts for what is served under its name, whoever pushed the same bytes here before.
_SET_MEDIA_TYPE = "UPDATE manifests SET media_type = ? WHERE digest = ?"
_RECORD_REFERENCE = """
    INSERT INTO manifest_references (manifest, digest, size, media_type) VALUES (?, ?, ?, ?)
    ON CONFLICT (manifest, digest) DO NOTHING
"""
_FIND_SIZE = """
    SELECT manifest_references.size FROM manifest_references
    JOIN links ON links.digest = manifest_references.manifest AND links.repository = ?
    WHERE manifest_references.digest = ? LIMIT 1
"""
# Only manifests that came from an upstream: what the others pair, their pushers say.
_LIST_CONFIGURED = """
    SELECT manifests.digest, manifests.media_type FROM manifest_references
    JOIN links ON links.digest = manifest_references.manifest AND links.repository = ?
    JOIN manifests ON manifests.digest = manifest_references.manifest
    WHERE manifest_references.digest = ? AND manifest_references.media_type IN (?, ?) ORDER BY manifests.digest
"""
_LIST_REFERRERS = """
    SELECT manifests.digest, media_type, size, subject, artifact_type, annotations FROM manifests
    JOIN links ON links.digest = manifests.digest AND links.repository = ?
    WHERE manifests.subject = ? ORDER BY manifests.digest
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """What is asked of a manifest without reading its bytes."""

    digest: Digest
    media_type: str
    size: int
    subject: Digest | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


class Manifests:
    """The tables of manifests and of what they reference."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, digest: Digest) -> ManifestRow | None:
        """Return what is known of the manifest `digest`."""
        rows = await self._database.fetch(_FIND, (str(digest),))
        return manifest_row(rows[0]) if rows else None

    async def record(
        self, row: ManifestRow, references: Iterable[Descriptor], blob: BlobRow, *, repository: str
    ) -> None:
        """Make a published manifest known, with what it references, and let `repository` serve it; in one transaction.

        `blob` is where its bytes are.

        What it references is not linked: that a manifest names a digest does not give the right to read it. But the
        repository is an origin of it (store/origins).
        """
        named = list(references)
        itself = Descriptor(media_type=row.media_type, digest=row.digest, size=row.size)
        async with self._database.transaction() as connection:
            await record_origins(connection, origins_in(repository, [itself, *named], seen_at=blob.stored_at))
            await record_blob(connection, blob, repository)
            await record_facts(connection, row, named)
            await _set_media_type(connection, row.digest, row.media_type)
            await note_given(connection, row.digest)

    async def record_media_type(self, digest: Digest, media_type: str) -> None:
        """Note what an upstream calls the manifest."""
        async with self._database.transaction() as connection:
            await _set_media_type(connection, digest, media_type)

    async def note_gone(self, repository: str, digest: Digest) -> None:
        """Note that `repository` does not have the manifest `digest` any more: what only that names is scarce."""
        async with self._database.transaction() as connection:
            await note_manifest_gone(connection, digest, repository)

    async def find_size(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob as a manifest that `repository` may serve says, or None if none names it."""
        rows = await self._database.fetch(_FIND_SIZE, (repository, str(digest)))
        return rows[0][0] if rows else None

    async def list_configured(self, repository: str, config: Digest) -> list[tuple[Digest, str]]:
        """Return digest and media type of the upstream `repository`'s manifests whose config this is."""
        values = (repository, str(config), media_types.OCI_CONFIG, media_types.DOCKER_CONFIG)
        rows = await self._database.fetch(_LIST_CONFIGURED, values)
        return [(parse_digest(digest), media_type) for digest, media_type in rows]

    async def list_referrers(self, repository: str, subject: Digest) -> list[ManifestRow]:
        """Return the manifests of `repository` whose subject is `subject` (distribution-spec end-12a)."""
        rows = await self._database.fetch(_LIST_REFERRERS, (repository, str(subject)))
        return [manifest_row(row) for row in rows]


async def record_facts(connection: aiosqlite.Connection, row: ManifestRow, references: Iterable[Descriptor]) -> None:
    """Note what a manifest says, as a part of the caller's transaction."""
    named = [(str(row.digest), str(item.digest), item.size, item.media_type) for item in references]
    await connection.execute(_RECORD, (*_values(row), *media_types.MANIFEST_TYPES * 2))
    await connection.executemany(_RECORD_REFERENCE, named)


async def _set_media_type(connection: aiosqlite.Connection, digest: Digest, media_type: str) -> None:
    if media_type in media_types.MANIFEST_TYPES:
        await connection.execute(_SET_MEDIA_TYPE, (media_type, str(digest)))


def _values(row: ManifestRow) -> tuple[object, ...]:
    subject = None if row.subject is None else str(row.subject)
    return (str(row.digest), row.media_type, row.size, subject, row.artifact_type, json.dumps(dict(row.annotations)))


def manifest_row(values: tuple[Any, ...]) -> ManifestRow:
    """Return the row of these columns, in the order of the table."""
    digest, media_type, size, subject, artifact_type, annotations = values
    return ManifestRow(
        digest=parse_digest(digest),
        media_type=media_type,
        size=size,
        subject=None if subject is None else parse_digest(subject),
        artifact_type=artifact_type,
        annotations=json.loads(annotations),
    )
