"""What is never evicted: all that a pinned tag is made of, or that a pinned repository has."""

import aiosqlite

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


async def find_pinned(connection: aiosqlite.Connection) -> set[str]:
    """Return the digests that are pinned, as a part of the caller's transaction: a pin that was acknowledged holds."""
    return {digest for (digest,) in await connection.execute_fetchall(PINNED)}
