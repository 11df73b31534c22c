"""The images whose content pushes are expected to build on, and what their tags meant when that was learnt last.

A base is written `docker.io/library/python:3.12`: its repository's canonical name and a tag. What it is made of is in
the origin ledger (store/origins); it has to be asked for anew only when the tag has moved.
"""

import aiosqlite

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database

_ADD = "INSERT INTO bases (reference, added_at) VALUES (?, ?) ON CONFLICT (reference) DO NOTHING"
_REMOVE = "DELETE FROM bases WHERE reference = ?"
_LIST_ADDED = "SELECT reference FROM bases ORDER BY reference"
_FIND_LEARNT = "SELECT digest FROM learnt_bases WHERE reference = ?"
_NOTE_LEARNT = """
    INSERT INTO learnt_bases (reference, repository, digest, learnt_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (reference) DO UPDATE SET digest = excluded.digest, learnt_at = excluded.learnt_at
"""
_FORGET_LEARNT = "DELETE FROM learnt_bases WHERE reference = ?"
_FORGET_LEARNT_WITH = """
    WITH RECURSIVE made_of (reference, digest) AS (
        SELECT reference, digest FROM learnt_bases WHERE repository = ?
        UNION
        SELECT made_of.reference, manifest_references.digest FROM made_of
        JOIN manifest_references ON manifest_references.manifest = made_of.digest
    )
    DELETE FROM learnt_bases WHERE reference IN (SELECT reference FROM made_of WHERE digest = ?)
"""


class Bases:
    """The tables of bases: those that were added, and what was learnt of these and of the configured ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, reference: str, *, now: float) -> None:
        """Have a base looked after."""
        async with self._database.transaction() as connection:
            await connection.execute(_ADD, (reference, now))

    async def remove(self, reference: str) -> bool:
        """Look after it no longer, and tell whether it had been added; what the ledger says stays true."""
        async with self._database.transaction() as connection:
            await connection.execute(_FORGET_LEARNT, (reference,))
            return (await connection.execute(_REMOVE, (reference,))).rowcount > 0

    async def list_added(self) -> list[str]:
        """Return the bases that were added, the configured ones not among them."""
        return [reference for (reference,) in await self._database.fetch(_LIST_ADDED)]

    async def find_learnt(self, reference: str) -> Digest | None:
        """Return what the base's tag pointed to when all of it was learnt."""
        rows = await self._database.fetch(_FIND_LEARNT, (reference,))
        return parse_digest(rows[0][0]) if rows else None

    async def note_learnt(self, reference: str, digest: Digest, *, now: float) -> None:
        """Note that all of `digest`, to which the base's tag points, is in the ledger."""
        async with self._database.transaction() as connection:
            await connection.execute(_NOTE_LEARNT, (reference, reference.rpartition(":")[0], str(digest), now))


async def forget_learnt_with(connection: aiosqlite.Connection, repository: str, digest: Digest) -> None:
    """Note that what was learnt of those bases of `repository` that are made of the blob is not in the ledger any more.

    A part of the caller's transaction.
    """
    await connection.execute(_FORGET_LEARNT_WITH, (repository, str(digest)))
