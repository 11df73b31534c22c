"""Which blobs are known here, and which repository may serve which of them.

A row of `blobs` says what was stored, not that the bytes are still here: files before rows on the way in, rows before
files on the way out (invariant 2), and whether they are here only BlobStore can say. A blob that was once seen in a
public repository stays public; private content is served through a link of a repository that the caller may read.
"""

from dataclasses import dataclass

import aiosqlite

from proxycache.oci.digest import Digest
from proxycache.store.database import Database
from proxycache.store.origins import BLOB_TYPE, Origin, record_origins

# What is on its way out promises nothing: who finds its file all the same has it recorded, and so kept.
_HAS_LINK = """
    SELECT 1 FROM links WHERE repository = ? AND digest = ?
    AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = links.digest AND blobs.is_leaving = 1)
"""
_ADD_LINK = "INSERT INTO links (repository, digest) VALUES (?, ?) ON CONFLICT (repository, digest) DO NOTHING"
_FIND_BLOB = "SELECT size, is_public, stored_at FROM blobs WHERE digest = ? AND is_leaving = 0"
# What is filled anew ranks as what was never here at least: a stray, and what was on its way out, rank lower.
_RECORD_BLOB = """
    INSERT INTO blobs (digest, size, is_public, stored_at, used_at, rank)
    VALUES (?, ?, ?, ?, ?, (SELECT level FROM space) + ?)
    ON CONFLICT (digest) DO UPDATE SET
        is_public = CASE WHEN excluded.is_public = 1 THEN 1 ELSE blobs.is_public END, is_leaving = 0, is_scarce = 0,
        used_at = CASE WHEN excluded.used_at > blobs.used_at THEN excluded.used_at ELSE blobs.used_at END,
        rank = CASE WHEN excluded.rank > blobs.rank THEN excluded.rank ELSE blobs.rank END
    WHERE blobs.is_leaving = 1 OR blobs.is_scarce = 1 OR (blobs.is_public = 0 AND excluded.is_public = 1)
        OR blobs.rank < excluded.rank
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow:
    """A blob that was stored at `stored_at`; `worth` is how much above the level it ranks (store/usage)."""

    digest: Digest
    size: int
    is_public: bool
    stored_at: float
    worth: float = 0.0


class Links:
    """The tables of blobs and of links to them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def has(self, name: str, digest: Digest) -> bool:
        """Return whether the repository `name` may serve `digest`; not while that is leaving."""
        return bool(await self._database.fetch(_HAS_LINK, (name, str(digest))))

    async def find(self, digest: Digest) -> BlobRow | None:
        """Return what is known of the blob `digest`; nothing while it is leaving."""
        rows = await self._database.fetch(_FIND_BLOB, (str(digest),))
        if not rows:
            return None
        size, is_public, stored_at = rows[0]
        return BlobRow(digest=digest, size=size, is_public=bool(is_public), stored_at=stored_at)

    async def record(self, blob: BlobRow, *, repository: str) -> None:
        """Make a published blob known, and let `repository`, which is an origin of it, serve it."""
        origin = Origin(
            digest=blob.digest, repository=repository, size=blob.size, media_type=BLOB_TYPE, seen_at=blob.stored_at
        )
        async with self._database.transaction() as connection:
            await record_blob(connection, blob, repository)
            await record_origins(connection, [origin])


async def record_blob(connection: aiosqlite.Connection, blob: BlobRow, repository: str) -> None:
    """Do what Links.record does, as a part of the caller's transaction."""
    stored_at = blob.stored_at
    row = (str(blob.digest), blob.size, int(blob.is_public), stored_at, stored_at, blob.worth)
    await connection.execute(_RECORD_BLOB, row)
    await connection.execute(_ADD_LINK, (repository, str(blob.digest)))
