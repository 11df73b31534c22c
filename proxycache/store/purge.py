"""Forget what is cached and remembered of a repository, or of one of its tags.

What another repository or tag needs as well stays; where a part is pinned, nothing is forgotten. The blobs that nothing
needs any more are marked as leaving, in the transaction that forgets the rest; who asked for that removes their files
(store/usage).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxycache.oci.digest import parse_digest
from proxycache.store.database import Database
from proxycache.store.pins import find_pinned
from proxycache.store.usage import MARK, Candidate

_KINDS_OF_NEGATIVES = ("tag", "manifest", "blob")
# Only of this repository: no other one has a link to it, nor a manifest that names it.
_FIND_OF_REPOSITORY = """
    SELECT blobs.digest, blobs.size, blobs.rank FROM links JOIN blobs ON blobs.digest = links.digest
    WHERE links.repository = ?
    AND NOT EXISTS (
        SELECT 1 FROM links AS others WHERE others.digest = links.digest AND others.repository <> links.repository
    )
    AND NOT EXISTS (
        SELECT 1 FROM manifest_references JOIN links AS others ON others.digest = manifest_references.manifest
        WHERE manifest_references.digest = links.digest AND others.repository <> links.repository
    )
"""
_FIND_OF_TAG = """
    WITH RECURSIVE made_of (digest) AS (
        SELECT digest FROM tags WHERE repository = ? AND tag = ?
        UNION
        SELECT manifest_references.digest FROM made_of
        JOIN manifest_references ON manifest_references.manifest = made_of.digest
    ), needed (digest) AS (
        SELECT digest FROM tags WHERE NOT (repository = ? AND tag = ?)
        UNION
        SELECT manifest_references.digest FROM needed
        JOIN manifest_references ON manifest_references.manifest = needed.digest
    )
    SELECT blobs.digest, blobs.size, blobs.rank FROM made_of JOIN blobs ON blobs.digest = made_of.digest
    WHERE made_of.digest NOT IN (SELECT digest FROM needed)
"""
_FORGET_REPOSITORY = (
    "DELETE FROM tags WHERE repository = ?",
    "DELETE FROM links WHERE repository = ?",
    "DELETE FROM repositories WHERE name = ?",
)
_FORGET_TAG = "DELETE FROM tags WHERE repository = ? AND tag = ?"
_FORGET_NEGATIVE = "DELETE FROM negatives WHERE key = ?"
_FORGET_NEGATIVES = "DELETE FROM negatives WHERE key >= ? AND key < ?"
_FORGET_DOCUMENTS = "DELETE FROM documents WHERE key >= ? AND key < ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What leaves now, or how many blobs are pinned, so that nothing does."""

    leaving: list[Candidate]
    pinned: int


class Purge:
    """Forgets, over all tables at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget_repository(self, name: str, *, is_dry: bool) -> Purged:
        """Forget all of the repository `name`; `is_dry`: only tell what that would be."""
        statements: list[tuple[str, Sequence[str]]] = [(sql, (name,)) for sql in _FORGET_REPOSITORY]
        statements += [(_FORGET_NEGATIVES, _keys_below(f"{kind} {name}")) for kind in _KINDS_OF_NEGATIVES]
        statements.append((_FORGET_DOCUMENTS, _keys_below(f"referrers {name}")))
        return await self._forget(_FIND_OF_REPOSITORY, (name,), [] if is_dry else statements, is_dry=is_dry)

    async def forget_tag(self, name: str, tag: str, *, is_dry: bool) -> Purged:
        """Forget a tag and what only it is made of; `is_dry`: only tell what that would be."""
        statements: list[tuple[str, Sequence[str]]] = [
            (_FORGET_TAG, (name, tag)),
            (_FORGET_NEGATIVE, (f"tag {name} {tag}",)),
        ]
        return await self._forget(_FIND_OF_TAG, (name, tag, name, tag), [] if is_dry else statements, is_dry=is_dry)

    async def _forget(
        self, find: str, values: Sequence[str], statements: list[tuple[str, Sequence[str]]], *, is_dry: bool
    ) -> Purged:
        async with self._database.transaction() as connection:
            rows = list(await connection.execute_fetchall(find, values))
            pinned = await find_pinned(connection)
            leaving = [
                Candidate(digest=parse_digest(digest), size=size, rank=rank)
                for digest, size, rank in rows
                if digest not in pinned
            ]
            if len(leaving) < len(rows):
                return Purged(leaving=[], pinned=len(rows) - len(leaving))
            if not is_dry:
                await connection.executemany(MARK, [(str(item.digest),) for item in leaving])
            for sql, parameters in statements:
                await connection.execute(sql, parameters)
        return Purged(leaving=leaving, pinned=0)


def _keys_below(beginning: str) -> tuple[str, str]:
    """Return the bounds of the keys that begin with these words and have one more."""
    return f"{beginning} ", f"{beginning}!"
