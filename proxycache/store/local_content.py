"""What was pushed here: which local repository has which blobs, manifests and tags (DESIGN, "Push").

An owned blob has a file, which nobody removes before its row is `is_leaving` (store/usage), as with cached ones. Every
commit is durable: what was acknowledged is still there after a power cut.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import Enum

from proxycache.oci.digest import Digest
from proxycache.store.database import Database
from proxycache.store.joint_writes import JointWrites
from proxycache.store.local_push import (
    Inventory,
    ManifestPush,
    Means,
    Needed,
    PublishedBlob,
    borrow,
    is_held,
    record_blobs,
    record_manifest,
    take_in,
    take_stock,
)
from proxycache.store.manifests import ManifestRow, manifest_row
from proxycache.store.origins import Origin

_FIND_LINK = "SELECT linked_at FROM local_links WHERE repository = ? AND digest = ?"
_FIND_LOAN = "SELECT origin, size FROM borrowed_links WHERE repository = ? AND digest = ?"
_REMOVE_LOAN = "DELETE FROM borrowed_links WHERE repository = ? AND digest = ?"
_IS_KNOWN = """
    SELECT 1 WHERE EXISTS (SELECT 1 FROM local_links WHERE repository = ?)
    OR EXISTS (SELECT 1 FROM borrowed_links WHERE repository = ?)
    OR EXISTS (SELECT 1 FROM local_manifests WHERE repository = ?)
"""
_LIST_HOLDERS = """
    SELECT repository FROM local_links WHERE digest = ?
    UNION SELECT repository FROM local_manifests WHERE digest = ? ORDER BY repository
"""
_LIST_CACHED_IN = "SELECT repository FROM links WHERE digest = ? ORDER BY repository"
_IS_STORED = "SELECT 1 FROM blobs WHERE digest = ?"
_RENEW_LINK = "UPDATE local_links SET linked_at = ? WHERE repository = ? AND digest = ?"
_FIND_MANIFEST = """
    SELECT local_manifests.media_type, blobs.size FROM local_manifests
    JOIN blobs ON blobs.digest = local_manifests.digest
    WHERE local_manifests.repository = ? AND local_manifests.digest = ?
"""
_REMOVE_TAG = "DELETE FROM tags WHERE repository = ? AND tag = ?"
_REMOVE_TAGS_OF = "DELETE FROM tags WHERE repository = ? AND digest = ?"
_REMOVE_MANIFEST = "DELETE FROM local_manifests WHERE repository = ? AND digest = ?"
_REMOVE_LINK = "DELETE FROM local_links WHERE repository = ? AND digest = ?"
_FIND_PARENT = """
    SELECT manifest_references.manifest FROM manifest_references JOIN local_manifests
    ON local_manifests.digest = manifest_references.manifest AND local_manifests.repository = ?
    WHERE manifest_references.digest = ? LIMIT 1
"""
# What only a deleted manifest needed may be on its way into another one: its grace begins now.
_RENEW_LINKS_OF_MANIFEST = (
    """
    UPDATE local_links SET linked_at = ? WHERE repository = ?
    AND digest IN (SELECT digest FROM manifest_references WHERE manifest = ?)
    """,
    """
    UPDATE borrowed_links SET linked_at = ? WHERE repository = ?
    AND digest IN (SELECT digest FROM manifest_references WHERE manifest = ?)
    """,
)
_LIST_REFERRERS = """
    SELECT manifests.digest, local_manifests.media_type, manifests.size, subject, artifact_type, annotations
    FROM manifests JOIN local_manifests
    ON local_manifests.digest = manifests.digest AND local_manifests.repository = ?
    WHERE manifests.subject = ? AND manifests.digest > ? AND (? = '' OR artifact_type = ?)
    ORDER BY manifests.digest LIMIT ?
"""

_FEW_ROWS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalManifest:
    """A manifest as its repository has it."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """A blob of `size` bytes that a repository serves from its `origin`, a canonical name."""

    origin: str
    size: int


class Removal(Enum):
    """How a deletion ended."""

    DONE = "done"
    UNKNOWN = "unknown"
    NEEDED = "needed"


class LocalContent:
    """The tables of what local repositories have."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._links = JointWrites(database, record_blobs)

    async def find_link(self, repository: str, digest: Digest) -> float | None:
        """Return when the repository was last promised the blob (epoch), or None if it may not serve it."""
        rows = await self._database.fetch(_FIND_LINK, (repository, str(digest)))
        return rows[0][0] if rows else None

    async def is_known(self, repository: str) -> bool:
        """Tell whether anything is in the repository."""
        return bool(await self._database.fetch(_IS_KNOWN, (repository,) * 3))

    async def has_link(self, repository: str, digest: Digest) -> bool:
        """Tell whether the repository may serve the blob."""
        return await self.find_link(repository, digest) is not None

    async def find_loan(self, repository: str, digest: Digest) -> Loan | None:
        """Return where the repository borrows the blob from, or None if it does not."""
        rows = await self._database.fetch(_FIND_LOAN, (repository, str(digest)))
        return Loan(origin=rows[0][0], size=rows[0][1]) if rows else None

    async def borrow(self, repository: str, origin: Origin, *, now: float) -> None:
        """Let `repository` serve what an origin has."""
        async with self._database.transaction(is_durable=True) as connection:
            await borrow(connection, repository, origin, now)

    async def is_needed(self, repository: str, digest: Digest) -> bool:
        """Tell whether a manifest of the repository references the content."""
        return bool(await self._database.fetch(_FIND_PARENT, (repository, str(digest))))

    async def renew_link(self, repository: str, digest: Digest, *, now: float) -> bool:
        """Promise the blob anew, so that it is not collected before a push that relies on it has come to its end.

        Returns whether it still is here.
        """
        async with self._database.transaction() as connection:
            return bool((await connection.execute(_RENEW_LINK, (now, repository, str(digest)))).rowcount)

    async def find_holders(self, digest: Digest) -> tuple[str, ...]:
        """Return through which repositories, local and cached, by canonical name, the content may be had here."""
        rows = await self._database.fetch(_LIST_HOLDERS, (str(digest), str(digest)))
        rows += await self._database.fetch(_LIST_CACHED_IN, (str(digest),))
        return tuple(name for (name,) in rows)

    async def is_nobodys(self, digest: Digest) -> bool:
        """Tell whether nobody wants a file of this content: there is no row that says so, of anybody."""
        return not await self._database.fetch(_IS_STORED, (str(digest),))

    async def link_blob(self, repository: str, digest: Digest, size: int, *, now: float) -> None:
        """Let `repository` serve a blob that was just published, and own it."""
        await self._links.add(PublishedBlob(repository=repository, digest=digest, size=size, published_at=now))

    async def mount(self, repository: str, digest: Digest, *, now: float) -> bool:
        """Let `repository` serve a blob that is here, and own it; False if it is gone, or about to go."""
        async with self._database.transaction(is_durable=True) as connection:
            is_here = await is_held(connection, digest)
            if is_here:
                await take_in(connection, repository, Needed(digest, is_manifest=False), now)
            return is_here

    async def take_stock(self, repository: str, needed: Sequence[Needed], means: Means) -> Inventory:
        """Return what of `needed` the repository does not own at this moment, and what of it may come by `means`."""
        async with self._database.reading() as connection:
            return await take_stock(connection, repository, needed, means)

    async def record_manifest(self, push: ManifestPush) -> list[Digest]:
        """Record a manifest and let its tags point to it; return what is missing: then nothing was recorded."""
        async with self._database.transaction(is_durable=True) as connection:
            return await record_manifest(connection, push)

    async def find_manifest(self, repository: str, digest: Digest) -> LocalManifest | None:
        """Return the manifest if the repository has it."""
        rows = await self._database.fetch(_FIND_MANIFEST, (repository, str(digest)))
        return LocalManifest(digest=digest, media_type=rows[0][0], size=rows[0][1]) if rows else None

    async def iterate_referrers(
        self, repository: str, subject: Digest, artifact_type: str, *, n: int, last: str
    ) -> AsyncGenerator[ManifestRow, None]:
        """Yield those whose subject is `subject`, in the order of their digests, `n` of them at most behind `last`.

        They are read a few at a time: each has all annotations of its manifest.
        """
        values = (repository, str(subject), last, artifact_type, artifact_type, n)
        async with self._database.reading() as connection, connection.execute(_LIST_REFERRERS, values) as cursor:
            while rows := await cursor.fetchmany(_FEW_ROWS):
                for row in rows:
                    yield manifest_row(tuple(row))

    async def remove_tag(self, repository: str, tag: str) -> Removal:
        """Forget a tag; its manifest stays."""
        async with self._database.transaction(is_durable=True) as connection:
            cursor = await connection.execute(_REMOVE_TAG, (repository, tag))
            return Removal.DONE if cursor.rowcount else Removal.UNKNOWN

    async def remove_manifest(self, repository: str, digest: Digest, *, now: float) -> Removal:
        """Forget a manifest and the tags that point to it, unless an index of the repository names it."""
        key = repository, str(digest)
        async with self._database.transaction(is_durable=True) as connection:
            if not await connection.execute_fetchall(_FIND_MANIFEST, key):
                return Removal.UNKNOWN
            if await connection.execute_fetchall(_FIND_PARENT, key):
                return Removal.NEEDED
            await connection.execute(_REMOVE_MANIFEST, key)
            await connection.execute(_REMOVE_TAGS_OF, key)
            for renew in _RENEW_LINKS_OF_MANIFEST:
                await connection.execute(renew, (now, *key))
            return Removal.DONE

    async def remove_blob(self, repository: str, digest: Digest) -> Removal:
        """Let `repository` serve a blob no longer, unless a manifest of it names it."""
        async with self._database.transaction(is_durable=True) as connection:
            key = repository, str(digest)
            if not await connection.execute_fetchall(_FIND_LINK, key) and not await connection.execute_fetchall(
                _FIND_LOAN, key
            ):
                return Removal.UNKNOWN
            if await connection.execute_fetchall(_FIND_PARENT, key):
                return Removal.NEEDED
            await connection.execute(_REMOVE_LINK, key)
            await connection.execute(_REMOVE_LOAN, key)
            return Removal.DONE
