"""The origin ledger: which upstream repository has which blob, how large it is, and when it last showed that.

It is learnt from every manifest and blob that comes through, and outlives what is evicted, for a time (store/expiry).
Only facts are here; who may be told of them is decided elsewhere (registry/borrow).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiosqlite

from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.bases import forget_learnt_with
from proxycache.store.database import Database

BLOB_TYPE = "application/octet-stream"

_RECORD = """
    INSERT INTO origins (digest, repository, size, media_type, seen_at, noted_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (digest, repository) DO UPDATE SET
        seen_at = CASE WHEN excluded.seen_at > origins.seen_at THEN excluded.seen_at ELSE origins.seen_at END,
        noted_at = CASE WHEN excluded.noted_at > origins.noted_at THEN excluded.noted_at ELSE origins.noted_at END,
        size = CASE WHEN excluded.media_type = ? THEN excluded.size ELSE origins.size END,
        media_type = CASE WHEN excluded.media_type = ? THEN origins.media_type ELSE excluded.media_type END
"""
_LIST = """
    SELECT repository, size, media_type, seen_at FROM origins WHERE digest = ? ORDER BY seen_at DESC, repository
"""
_FORGET = "DELETE FROM origins WHERE digest = ? AND repository = ?"
_IS_NEWS = """
    SELECT 1 FROM manifests WHERE digest = ? AND NOT EXISTS (
        SELECT 1 FROM origins WHERE origins.digest = manifests.digest AND origins.repository = ?
    )
"""
# Of what was only pushed here no upstream is an origin, whatever its manifests name.
_RECORD_ALL_OF = """
    WITH RECURSIVE made_of (digest, size, media_type) AS (
        SELECT digest, size, media_type FROM manifests WHERE digest = ?
        UNION
        SELECT named.digest, named.size, named.media_type FROM made_of
        JOIN manifest_references AS named ON named.manifest = made_of.digest
        WHERE EXISTS (SELECT 1 FROM links WHERE links.digest = made_of.digest)
    )
    INSERT INTO origins (digest, repository, size, media_type, seen_at)
    SELECT digest, ?, size, media_type, 0 FROM made_of WHERE true
    ON CONFLICT (digest, repository) DO NOTHING
"""
_RECORD_DIFF_ID = "UPDATE origins SET diff_id = ? WHERE digest = ? AND (diff_id IS NULL OR diff_id <> ?)"
_LIST_SAME_CONTENT = "SELECT DISTINCT digest FROM origins WHERE diff_id = ? AND digest <> ? ORDER BY digest LIMIT ?"
_CONFIRM = "UPDATE origins SET seen_at = ?, noted_at = ? WHERE digest = ? AND repository = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """An upstream repository, by canonical name, that had the blob at `seen_at` (epoch)."""

    digest: Digest
    repository: str
    size: int
    media_type: str
    seen_at: float


class Origins:
    """The ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_origins(self, digest: Digest) -> list[Origin]:
        """Return who is known to have the blob, the one seen last first."""
        rows = await self._database.fetch(_LIST, (str(digest),))
        return [
            Origin(digest=digest, repository=repository, size=size, media_type=media_type, seen_at=seen_at)
            for repository, size, media_type, seen_at in rows
        ]

    async def record(self, *origins: Origin) -> None:
        """Note who has what."""
        async with self._database.transaction() as connection:
            await record_origins(connection, origins)

    async def record_tag(self, repository: str, digest: Digest) -> None:
        """Note that a repository has a manifest, which may have come from elsewhere, and what that is made of.

        It showed none of it, so that it is asked before anybody relies on that.
        """
        key = str(digest), repository
        if not await self._database.fetch(_IS_NEWS, key):
            return
        async with self._database.transaction() as connection:
            await connection.execute(_RECORD_ALL_OF, key)

    async def record_diff_ids(self, diff_ids: Mapping[Digest, Digest]) -> None:
        """Note of which tar each of these layers is a compressed form, whoever has it."""
        values = [(str(diff_id), str(layer), str(diff_id)) for layer, diff_id in diff_ids.items()]
        async with self._database.transaction() as connection:
            await connection.executemany(_RECORD_DIFF_ID, values)

    async def list_same_content(self, diff_id: Digest, layer: Digest, *, most: int) -> list[Digest]:
        """Return which other layers are compressed forms of the same tar as `layer`."""
        rows = await self._database.fetch(_LIST_SAME_CONTENT, (str(diff_id), str(layer), most))
        return [parse_digest(digest) for (digest,) in rows]

    async def confirm(self, origins: Iterable[Origin], *, now: float) -> None:
        """Note that these were seen again."""
        values = [(now, now, str(origin.digest), origin.repository) for origin in origins]
        async with self._database.transaction() as connection:
            await connection.executemany(_CONFIRM, values)

    async def forget(self, digest: Digest, repository: str) -> None:
        """Note that the repository no longer has the blob; bases of it that are made of it are to be learnt anew."""
        async with self._database.transaction() as connection:
            await forget_learnt_with(connection, repository, digest)
            await connection.execute(_FORGET, (str(digest), repository))


async def record_origins(connection: aiosqlite.Connection, origins: Iterable[Origin]) -> None:
    """Note who has what, as a part of the caller's transaction; what is known to be newer stays.

    What type a blob is of only a manifest tells; how large it is, whoever saw the blob itself.
    """
    values = [
        (
            *(str(each.digest), each.repository, each.size, each.media_type),
            *(each.seen_at, each.seen_at, BLOB_TYPE, BLOB_TYPE),
        )
        for each in origins
    ]
    await connection.executemany(_RECORD, values)


def origins_in(repository: str, references: Sequence[Descriptor], *, seen_at: float) -> list[Origin]:
    """Return that the repository has what a manifest of it references, but what it may not hand out (`urls`)."""
    return [
        Origin(digest=item.digest, repository=repository, size=item.size, media_type=item.media_type, seen_at=seen_at)
        for item in references
        if not item.urls
    ]
