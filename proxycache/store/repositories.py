"""What is known of whole repositories: who may read them upstream, and which of them hold something here."""

from dataclasses import dataclass

from proxycache.store.database import UNLIMITED, Database

_FIND = "SELECT is_public, checked_at FROM repositories WHERE name = ?"
_RECORD = """
    INSERT INTO repositories (name, is_public, checked_at) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET is_public = excluded.is_public, checked_at = excluded.checked_at
"""
# Jumps from name to name through the primary keys: DISTINCT would walk over every link there is.
_LIST_NAMES = """
    WITH RECURSIVE names (name) AS (
        SELECT ?
        UNION ALL
        SELECT (
            SELECT min(next_name) FROM (
                SELECT min(repository) AS next_name FROM links WHERE repository > name
                UNION ALL
                SELECT min(repository) FROM tags WHERE repository > name
                UNION ALL
                SELECT min(repository) FROM local_manifests WHERE repository > name
            ) AS next_names
        ) FROM names WHERE name IS NOT NULL
    )
    SELECT name FROM names WHERE name IS NOT NULL LIMIT ? OFFSET 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """Whether everybody may read a repository at its upstream, as of `checked_at`."""

    is_public: bool
    checked_at: float


class Repositories:
    """The table of repositories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_visibility(self, name: str) -> Visibility | None:
        """Return what was last found out about `name`, or None if nobody asked yet."""
        rows = await self._database.fetch(_FIND, (name,))
        return Visibility(is_public=bool(rows[0][0]), checked_at=rows[0][1]) if rows else None

    async def record_visibility(self, name: str, *, is_public: bool, checked_at: float) -> None:
        """Remember what was found out."""
        async with self._database.transaction() as connection:
            await connection.execute(_RECORD, (name, int(is_public), checked_at))

    async def list_names(self, *, n: int | None = None, last: str | None = None) -> list[str]:
        """Return the repositories that hold a link or a tag: `n` of them at most, those after `last`, in order."""
        rows = await self._database.fetch(_LIST_NAMES, (last or "", UNLIMITED if n is None else n))
        return [name for (name,) in rows]
