"""Answers of upstreams that are kept whole, to be given when the upstream cannot: bytes under a key, for a month."""

from dataclasses import dataclass

from proxycache.store.database import Database

_FIND = "SELECT body, checked_at FROM documents WHERE key = ?"
_RECORD = """
    INSERT INTO documents (key, body, checked_at) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET body = excluded.body, checked_at = excluded.checked_at
"""
_EXPIRE = "DELETE FROM documents WHERE checked_at < ?"
LONGEST_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An answer as it was at `checked_at`."""

    body: bytes
    checked_at: float


class Documents:
    """The table of documents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: str) -> Document | None:
        """Return the answer under `key`, however stale it is."""
        rows = await self._database.fetch(_FIND, (key,))
        return Document(body=rows[0][0], checked_at=rows[0][1]) if rows else None

    async def record(self, key: str, body: bytes, *, checked_at: float) -> None:
        """Keep `body` under `key`, in place of what was there; what was not confirmed for a month makes room."""
        async with self._database.transaction() as connection:
            await connection.execute(_EXPIRE, (checked_at - LONGEST_SECONDS,))
            await connection.execute(_RECORD, (key, body, checked_at))
