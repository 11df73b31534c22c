"""What local repositories borrow, and how that becomes owned (adopt) or owned content borrowed (lend).

Each change is one durable transaction, so that a tag names at any moment what is owned or has an origin (invariant 6).
"""

from dataclasses import dataclass

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database
from proxycache.store.local_push import Needed, borrow, is_held, take_in
from proxycache.store.made_of import with_made_of
from proxycache.store.origins import Origin, record_origins

_LIST_OF_REPOSITORY = """
    SELECT repository, digest, origin, size FROM borrowed_links WHERE repository = ? ORDER BY digest
"""
_LIST_OF_TAG = with_made_of(
    "SELECT digest FROM tags WHERE repository = ? AND tag = ?",
    """
    SELECT repository, digest, origin, size FROM borrowed_links
    WHERE repository = ? AND digest IN (SELECT digest FROM made_of) ORDER BY digest
    """,
)
_LIST_NEEDED = """
    SELECT repository, digest, origin, size FROM borrowed_links WHERE NOT EXISTS (
        SELECT 1 FROM unneeded_borrowed_links WHERE unneeded_borrowed_links.repository = borrowed_links.repository
        AND unneeded_borrowed_links.digest = borrowed_links.digest
    ) ORDER BY repository, digest
"""
_PINNED = """
    WITH RECURSIVE pinned (repository, digest) AS (
        SELECT tags.repository, tags.digest FROM pins
        JOIN tags ON tags.repository = pins.repository WHERE pins.tag = '' OR pins.tag = tags.tag
        UNION
        SELECT pinned.repository, manifest_references.digest FROM pinned
        JOIN manifest_references ON manifest_references.manifest = pinned.digest
    )
"""
_LIST_PINNED = f"""{_PINNED}
    SELECT repository, digest, origin, size FROM borrowed_links WHERE EXISTS (
        SELECT 1 FROM pinned WHERE pinned.repository = borrowed_links.repository
        AND pinned.digest = borrowed_links.digest
    ) ORDER BY repository, digest
"""  # noqa: S608 - both texts are ours
_FIND_PINNED = f"{_PINNED} SELECT digest FROM pinned WHERE repository = ?"  # noqa: S608 - both texts are ours
_IS_KNOWN = """
    SELECT 1 WHERE EXISTS (SELECT 1 FROM local_manifests WHERE repository = ? AND ? = '')
    OR EXISTS (SELECT 1 FROM tags WHERE repository = ? AND tag = ?)
"""
_LIST_MANIFESTS_OF_REPOSITORY = "SELECT digest, media_type FROM local_manifests WHERE repository = ? ORDER BY digest"
_LIST_MANIFESTS_OF_TAG = with_made_of(
    "SELECT digest FROM tags WHERE repository = ? AND tag = ?",
    """
    SELECT digest, media_type FROM local_manifests
    WHERE repository = ? AND digest IN (SELECT digest FROM made_of) ORDER BY digest
    """,
)
_LIST_BORROWERS = "SELECT repository FROM borrowed_links WHERE digest = ? AND origin = ? ORDER BY repository"
_IS_BORROWED = "SELECT 1 FROM borrowed_links WHERE repository = ? AND digest = ?"
# That a blob is held gives nobody who names its digest a right to it; that it came from the origin, or is public, does.
_IS_LENT = """
    SELECT 1 FROM borrowed_links JOIN blobs ON blobs.digest = borrowed_links.digest
    WHERE borrowed_links.repository = ? AND borrowed_links.digest = ? AND (
        blobs.is_public = 1 OR EXISTS (
            SELECT 1 FROM links
            WHERE links.repository = borrowed_links.origin AND links.digest = borrowed_links.digest
        )
    )
"""
_IS_OWNED = "SELECT 1 FROM local_links WHERE repository = ? AND digest = ?"
_MOVE = """
    UPDATE borrowed_links SET origin = ?, audited_at = ?, silent_since = NULL WHERE digest = ? AND origin = ?
"""
_END_OWNERSHIP = "DELETE FROM local_links WHERE repository = ? AND digest = ?"
_LINK_TO_ORIGIN = "INSERT INTO links (repository, digest) VALUES (?, ?) ON CONFLICT (repository, digest) DO NOTHING"
# What somebody else here owns stays owned.
_RETURN_TO_CACHE = """
    UPDATE blobs SET is_public = 1, rank = (SELECT level FROM space), is_owned = CASE
        WHEN EXISTS (SELECT 1 FROM local_links WHERE local_links.digest = blobs.digest)
        OR EXISTS (SELECT 1 FROM local_manifests WHERE local_manifests.digest = blobs.digest) THEN 1 ELSE 0 END
    WHERE digest = ?
"""
_LIST_USE = """
    SELECT repository, sum(owned), sum(borrowed), sum(cached) FROM (
        SELECT repository, blobs.size AS owned, 0 AS borrowed, 0 AS cached FROM (
            SELECT repository, digest FROM local_links UNION SELECT repository, digest FROM local_manifests
        ) AS held JOIN blobs ON blobs.digest = held.digest
        UNION ALL
        SELECT repository, 0, borrowed_links.size, coalesce(blobs.size, 0) FROM borrowed_links
        LEFT JOIN blobs ON blobs.digest = borrowed_links.digest AND blobs.is_leaving = 0
    ) AS parts GROUP BY repository ORDER BY repository
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BorrowedBlob:
    """A blob of `size` bytes that a local repository serves from an origin, both by canonical name."""

    repository: str
    digest: Digest
    origin: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalUse:
    """What a local repository has, in bytes; of what it borrows `cached_bytes` are held here at the moment."""

    name: str
    owned_bytes: int
    borrowed_bytes: int
    cached_bytes: int


class Loans:
    """The table of what is borrowed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_of(self, repository: str, tag: str = "") -> list[BorrowedBlob]:
        """Return what a tag, or (none) the whole repository, borrows."""
        if tag:
            return await self._list(_LIST_OF_TAG, repository, tag, repository)
        return await self._list(_LIST_OF_REPOSITORY, repository)

    async def list_needed(self) -> list[BorrowedBlob]:
        """Return all that is borrowed and that a manifest needs."""
        return await self._list(_LIST_NEEDED)

    async def list_pinned(self) -> list[BorrowedBlob]:
        """Return what pinned tags, and all tags of pinned repositories, borrow."""
        return await self._list(_LIST_PINNED)

    async def find_pinned(self, repository: str) -> set[Digest]:
        """Return all that pinned tags of a repository are made of: what of it is lent would be adopted again."""
        rows = await self._database.fetch(_FIND_PINNED, (repository,))
        return {parse_digest(digest) for (digest,) in rows}

    async def is_known(self, repository: str, tag: str = "") -> bool:
        """Tell whether there is such a tag, or (none) anything in the repository."""
        return bool(await self._database.fetch(_IS_KNOWN, (repository, tag, repository, tag)))

    async def list_manifests(self, repository: str, tag: str = "") -> list[tuple[Digest, str]]:
        """Return digest and media type of the manifests of a tag, or (none) of the whole repository."""
        values = (repository, tag, repository) if tag else (repository,)
        rows = await self._database.fetch(_LIST_MANIFESTS_OF_TAG if tag else _LIST_MANIFESTS_OF_REPOSITORY, values)
        return [(parse_digest(digest), media_type) for digest, media_type in rows]

    async def adopt(self, repository: str, digest: Digest, *, now: float) -> bool:
        """Let a repository own what it borrows; False if the blob is not held, about to go, or here for others only."""
        key = repository, str(digest)
        async with self._database.transaction(is_durable=True) as connection:
            if not await connection.execute_fetchall(_IS_BORROWED, key):
                return True  # it was deleted, or pushed, meanwhile
            if not await is_held(connection, digest) or not await connection.execute_fetchall(_IS_LENT, key):
                return False
            await take_in(connection, repository, Needed(digest, is_manifest=False), now)
            return True

    async def list_borrowers(self, digest: Digest, origin: str) -> list[str]:
        """Return the repositories that borrow the blob from there."""
        return [name for (name,) in await self._database.fetch(_LIST_BORROWERS, (str(digest), origin))]

    async def move(self, digest: Digest, origin: str, to: Origin, *, now: float) -> None:
        """Let all who borrow the blob from `origin` borrow it from another one, which has just been asked."""
        async with self._database.transaction(is_durable=True) as connection:
            await connection.execute(_MOVE, (to.repository, now, str(digest), origin))

    async def lend(self, repository: str, origin: Origin, *, now: float) -> bool:
        """Let a repository borrow what it owns from an origin that has it; False if it does not own it.

        Its bytes here are then a copy that the origin can give again: cached, and evictable, unless others own them.
        """
        key = repository, str(origin.digest)
        async with self._database.transaction(is_durable=True) as connection:
            if not await connection.execute_fetchall(_IS_OWNED, key):
                return False
            await record_origins(connection, [origin])
            await connection.execute(_END_OWNERSHIP, key)
            await borrow(connection, repository, origin, now)
            await connection.execute(_LINK_TO_ORIGIN, (origin.repository, str(origin.digest)))
            await connection.execute(_RETURN_TO_CACHE, (str(origin.digest),))
            return True

    async def list_use(self) -> list[LocalUse]:
        """Return what each local repository has."""
        rows = await self._database.fetch(_LIST_USE)
        return [
            LocalUse(name=name, owned_bytes=owned, borrowed_bytes=borrowed, cached_bytes=cached)
            for name, owned, borrowed, cached in rows
        ]

    async def _list(self, sql: str, *values: object) -> list[BorrowedBlob]:
        return [
            BorrowedBlob(repository=repository, digest=parse_digest(digest), origin=origin, size=size)
            for repository, digest, origin, size in await self._database.fetch(sql, values)
        ]
