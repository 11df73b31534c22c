"""Negative entries: what an upstream has just answered with "no such thing" is not asked again for a while."""

from proxycache.store.database import Database

_FIND = "SELECT code FROM negatives WHERE key = ? AND until > ?"
_RECORD = """
    INSERT INTO negatives (key, code, until) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET code = excluded.code, until = excluded.until
"""
_EXPIRE = "DELETE FROM negatives WHERE until <= ?"


class Negatives:
    """The table of negative entries; a key says which question, a code what the answer was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: str, now: float) -> str | None:
        """Return the code that `key` was answered with, as long as that counts."""
        rows = await self._database.fetch(_FIND, (key, now))
        return rows[0][0] if rows else None

    async def record(self, key: str, code: str, *, until: float, now: float) -> None:
        """Let `code` be the answer to `key` until then; entries that have ended make room."""
        async with self._database.transaction() as connection:
            await connection.execute(_EXPIRE, (now,))
            await connection.execute(_RECORD, (key, code, until))
