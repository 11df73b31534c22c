"""What is never evicted: all that a pinned tag is made of, or that a pinned repository has."""

from collections.abc import Collection

import aiosqlite

from proxycache.store.asked_about import ask_about
from proxycache.store.database import Database
from proxycache.store.made_of import with_made_of

PINNED = with_made_of(
    """
        SELECT tags.digest FROM pins JOIN tags ON tags.repository = pins.repository
        WHERE pins.tag = '' OR pins.tag = tags.tag
        UNION
        SELECT links.digest FROM pins JOIN links ON links.repository = pins.repository WHERE pins.tag = ''
    """,
    "SELECT digest FROM made_of",
)
# The same, asked from below: up to all that names a few blobs, and from what is pinned of it down again. CROSS JOIN: in
# this order, else SQLite reads all that pinned repositories have.
_FIND_PINNED = """
    WITH RECURSIVE above (digest) AS (
        SELECT digest FROM asked_about
        UNION
        SELECT manifest_references.manifest FROM above
        JOIN manifest_references ON manifest_references.digest = above.digest
    ), pinned (digest) AS (
        SELECT above.digest FROM above CROSS JOIN tags CROSS JOIN pins
        WHERE tags.digest = above.digest AND pins.repository = tags.repository
        AND (pins.tag = '' OR pins.tag = tags.tag)
        UNION
        SELECT above.digest FROM above CROSS JOIN links CROSS JOIN pins
        WHERE links.digest = above.digest AND pins.repository = links.repository AND pins.tag = ''
        UNION
        SELECT manifest_references.digest FROM pinned
        JOIN manifest_references ON manifest_references.manifest = pinned.digest
    )
    SELECT digest FROM asked_about WHERE digest IN (SELECT digest FROM pinned)
"""
_IS_ANY = "SELECT 1 FROM pins LIMIT 1"
_ADD_PIN = """
    INSERT INTO pins (repository, tag, pinned_at) VALUES (?, ?, ?) ON CONFLICT (repository, tag) DO NOTHING
"""
_REMOVE_PIN = "DELETE FROM pins WHERE repository = ? AND tag = ?"
_LIST_PINS = "SELECT repository, tag FROM pins ORDER BY repository, tag"


class Pins:
    """The table of pins."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, tag: str, *, now: float) -> None:
        """Never evict what `tag` of the repository `name` is made of; no tag: what the repository has."""
        async with self._database.transaction() as connection:
            await connection.execute(_ADD_PIN, (name, tag, now))

    async def remove(self, name: str, tag: str) -> bool:
        """Take a pin back; tell whether there was one."""
        async with self._database.transaction() as connection:
            return (await connection.execute(_REMOVE_PIN, (name, tag))).rowcount > 0

    async def list_pins(self) -> list[tuple[str, str]]:
        """Return each pin's repository and tag."""
        return [(name, tag) for name, tag in await self._database.fetch(_LIST_PINS)]


async def list_pinned(connection: aiosqlite.Connection) -> set[str]:
    """Return the digests that are pinned."""
    return {digest for (digest,) in await connection.execute_fetchall(PINNED)}


async def find_pinned(connection: aiosqlite.Connection, digests: Collection[str]) -> set[str]:
    """Return which of `digests` are pinned, as a part of the caller's transaction: an acknowledged pin holds."""
    if not digests or not await connection.execute_fetchall(_IS_ANY):
        return set()
    await ask_about(connection, digests)
    return {digest for (digest,) in await connection.execute_fetchall(_FIND_PINNED)}
