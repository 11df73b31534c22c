"""What the ledger was told long ago goes, and with it what was read in manifests that are here no more.

An entry stays while a local repository borrows by it, while a base of its repository is looked after, and while a
manifest that is here for its repository names it, or is it: such a one is looked at again as late as one that was just
noted. Of a manifest that nobody is known to have, that is not here, and that no tag, no other manifest and no local
repository names, nothing is kept.
"""

from collections.abc import Collection

import aiosqlite

from proxycache.store.database import Database

KEEP_SECONDS = 90 * 86_400.0
_MOST_AT_ONCE = 500  # entries of one transaction

_LIST_OLD = "SELECT digest, repository FROM origins WHERE noted_at < ? ORDER BY noted_at LIMIT ?"
# What was noted without a time, as what a tag taught was, has its time from now on.
_KEEP_NEEDED = """
    UPDATE origins SET noted_at = ? WHERE digest = ? AND repository = ? AND (
        noted_at = 0
        OR EXISTS (
            SELECT 1 FROM borrowed_links
            WHERE borrowed_links.digest = origins.digest AND borrowed_links.origin = origins.repository
        )
        OR EXISTS (SELECT 1 FROM learnt_bases WHERE learnt_bases.repository = origins.repository)
        OR EXISTS (
            SELECT 1 FROM blobs JOIN links ON links.digest = blobs.digest AND links.repository = origins.repository
            WHERE blobs.digest = origins.digest
        )
        OR EXISTS (
            SELECT 1 FROM manifest_references JOIN blobs ON blobs.digest = manifest_references.manifest
            JOIN links ON links.digest = blobs.digest AND links.repository = origins.repository
            WHERE manifest_references.digest = origins.digest
        )
    )
"""
_FORGET_OLD = "DELETE FROM origins WHERE digest = ? AND repository = ? AND noted_at < ?"
_FORGET_MANIFEST = """
    DELETE FROM manifests WHERE digest = ?
    AND NOT EXISTS (SELECT 1 FROM origins WHERE origins.digest = manifests.digest)
    AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = manifests.digest)
    AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.digest = manifests.digest)
    AND NOT EXISTS (SELECT 1 FROM local_manifests WHERE local_manifests.digest = manifests.digest)
    AND NOT EXISTS (SELECT 1 FROM manifest_references WHERE manifest_references.digest = manifests.digest)
"""
_LIST_NAMED = """
    SELECT manifest_references.digest FROM manifest_references
    JOIN manifests ON manifests.digest = manifest_references.digest WHERE manifest_references.manifest = ?
"""
_FORGET_REFERENCES = "DELETE FROM manifest_references WHERE manifest = ?"
_FORGET_LINKS = "DELETE FROM links WHERE digest = ?"


class Expiry:
    """Forgets what is old."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expire(self, *, now: float) -> int:
        """Forget the entries of the ledger that are too old, a few at a time; return how many."""
        forgotten, before = 0, now - KEEP_SECONDS
        while old := await self._database.fetch(_LIST_OLD, (before, _MOST_AT_ONCE)):
            async with self._database.transaction() as connection:
                await connection.executemany(_KEEP_NEEDED, [(now, *key) for key in old])
                gone = await connection.executemany(_FORGET_OLD, [(*key, before) for key in old])
                forgotten += gone.rowcount
                await _forget_manifests(connection, {digest for digest, _ in old})
        return forgotten


async def _forget_manifests(connection: aiosqlite.Connection, digests: Collection[str]) -> None:
    """Forget those of these that are manifests and that nothing needs, and then what only they have named."""
    waiting = list(digests)
    while waiting:
        digest = waiting.pop()
        if (await connection.execute(_FORGET_MANIFEST, (digest,))).rowcount:
            waiting += [named for (named,) in await connection.execute_fetchall(_LIST_NAMED, (digest,))]
            await connection.execute(_FORGET_REFERENCES, (digest,))
            await connection.execute(_FORGET_LINKS, (digest,))
