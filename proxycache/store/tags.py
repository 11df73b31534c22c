"""Where tags point, and when that was last found out.

Several processes revalidate one tag, so an older answer may come last: it never overwrites a newer one. A time that
lies ahead of the answer by more than CLOCK_ERROR_SECONDS is no newer answer but a clock that was wrong, and gives way.
"""

import math
from dataclasses import dataclass

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import UNLIMITED, Database
from proxycache.store.scarcity import note_given, note_tag_gone

CLOCK_ERROR_SECONDS = 3600.0

_FIND = "SELECT digest, media_type, size, checked_at FROM tags WHERE repository = ? AND tag = ?"
_RECORD = """
    INSERT INTO tags (repository, tag, digest, media_type, size, checked_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (repository, tag) DO UPDATE SET
        digest = excluded.digest, media_type = excluded.media_type, size = excluded.size,
        checked_at = excluded.checked_at
    WHERE tags.checked_at <= excluded.checked_at OR tags.checked_at > excluded.checked_at + ?
"""
_REMOVE = """
    DELETE FROM tags WHERE repository = ? AND tag = ? AND (checked_at <= ? OR checked_at > ?) AND NOT EXISTS (
        SELECT 1 FROM pins WHERE pins.repository = tags.repository AND pins.tag IN ('', tags.tag)
    ) RETURNING digest
"""
# distribution-spec end-8: "lexical (i.e. case-insensitive alphanumeric) order"; the tag itself decides between
# v1 and V1, so that a page never ends inside of a tie.
_LIST_FIRST = "SELECT tag FROM tags WHERE repository = ? ORDER BY lower(tag), tag LIMIT ?"
_LIST_AFTER = """
    SELECT tag FROM tags WHERE repository = ? AND (lower(tag), tag) > (lower(?), ?)
    ORDER BY lower(tag), tag LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRow:
    """Where a tag pointed at `checked_at`."""

    repository: str
    tag: str
    digest: Digest
    media_type: str
    size: int
    checked_at: float


class Tags:
    """The table of tags."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: str, tag: str) -> TagRow | None:
        """Return where `tag` of the repository `name` points, however old that is."""
        rows = await self._database.fetch(_FIND, (name, tag))
        if not rows:
            return None
        digest, media_type, size, checked_at = rows[0]
        return TagRow(
            repository=name,
            tag=tag,
            digest=parse_digest(digest),
            media_type=media_type,
            size=size,
            checked_at=checked_at,
        )

    async def record(self, row: TagRow) -> None:
        """Let the tag point where `row` says, unless something newer is known; what it names is not scarce then."""
        values = (row.repository, row.tag, str(row.digest), row.media_type, row.size, row.checked_at)
        async with self._database.transaction() as connection:
            recorded = await connection.execute(_RECORD, (*values, CLOCK_ERROR_SECONDS))
            if recorded.rowcount:
                await note_given(connection, row.digest)

    async def remove(self, name: str, tag: str, *, checked_at: float = math.inf) -> None:
        """Forget the tag, which was gone at `checked_at`, unless something newer is known; what it named is scarce.

        A pinned one is kept, since it is what keeps its content.
        """
        newest = (checked_at, checked_at + CLOCK_ERROR_SECONDS)
        async with self._database.transaction() as connection:
            for (digest,) in await connection.execute_fetchall(_REMOVE, (name, tag, *newest)):
                await note_tag_gone(connection, digest)

    async def list_tags(self, name: str, *, n: int | None = None, last: str | None = None) -> list[str]:
        """Return the tags of the repository `name`: `n` of them at most, those after `last`, in order."""
        count = UNLIMITED if n is None else n
        if last is None:
            rows = await self._database.fetch(_LIST_FIRST, (name, count))
        else:
            rows = await self._database.fetch(_LIST_AFTER, (name, last, last, count))
        return [tag for (tag,) in rows]
