"""What of the owned content nothing needs any more, found and let go online (DESIGN, "Collect").

A link, to what is owned or borrowed, goes if no manifest of its repository references its blob and its grace is over;
an owned blob without links is cached again where an upstream repository has it, else it leaves, as evicted ones do:
marked, unlinked, forgotten (store/usage). Each step decides and acts in one transaction, so that a push comes before it
or after it: then it finds the content gone, and says so to its client.
"""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import aiosqlite

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database, batches
from proxycache.store.pins import find_pinned
from proxycache.store.unneeded import Unneeded, find_unneeded

GRACE_SECONDS = 3_600.0
LONGEST_GRACE_SECONDS = 86_400.0

_LIST_REPOSITORIES = """
    SELECT repository, max(linked_at) FROM (
        SELECT repository, linked_at FROM local_links UNION ALL SELECT repository, linked_at FROM borrowed_links
    ) AS all_links GROUP BY repository ORDER BY repository
"""
_REMOVE_UNNEEDED = (
    """
    DELETE FROM local_links WHERE repository = ?
    AND digest IN (SELECT digest FROM unneeded_links WHERE repository = ? AND linked_at < ?)
    """,
    """
    DELETE FROM borrowed_links WHERE repository = ?
    AND digest IN (SELECT digest FROM unneeded_borrowed_links WHERE repository = ? AND linked_at < ?)
    """,
)
_LIST_ORPHANS = "SELECT digest FROM orphans"
_LET_ALL_GO = """
    UPDATE blobs SET is_owned = 0, is_leaving = 1
    WHERE digest IN (SELECT digest FROM orphans) AND NOT EXISTS (SELECT 1 FROM links WHERE links.digest = blobs.digest)
"""
_LIST_LEAVING = "SELECT digest FROM blobs WHERE is_leaving = 1"
_FIND_ORPHAN = "SELECT EXISTS (SELECT 1 FROM links WHERE links.digest = ?) FROM orphans WHERE digest = ?"
_RETURN_TO_CACHE = "UPDATE blobs SET is_owned = 0 WHERE digest = ?"
_LET_GO = "UPDATE blobs SET is_owned = 0, is_leaving = 1 WHERE digest = ?"
_FORGET_MANIFEST = (
    "DELETE FROM manifest_references WHERE manifest = ?",
    "DELETE FROM manifests WHERE digest = ?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When it is, in epoch seconds, and which repositories have an upload under way."""

    now: float
    uploading: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """How much would go: links, and blobs of `size` bytes together."""

    links: int
    blobs: int
    size: int


class Garbage:
    """Finds and lets go what nothing needs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def foresee(self, moment: Moment) -> Foreseen:
        """Return what would go now: all is done, and undone."""
        due, links, leaving = await self._list_due(moment), 0, list[Unneeded]()
        with contextlib.suppress(_Undo):
            async with self._database.transaction() as connection:
                for repository, before in due:
                    links += await _remove_unneeded(connection, repository, before)
                await connection.execute(_LET_ALL_GO)
                marked = [digest for (digest,) in await connection.execute_fetchall(_LIST_LEAVING)]
                pinned = await find_pinned(connection, marked)
                leaving = [blob for blob in await find_unneeded(connection, marked) if blob.digest not in pinned]
                raise _Undo
        return Foreseen(links=links, blobs=len(leaving), size=sum(blob.size for blob in leaving))

    async def remove_unneeded(self, moment: Moment) -> int:
        """Remove the links whose grace is over: an hour after the repository's last push, but a day at most."""
        count = 0
        for repository, before in await self._list_due(moment):
            async with self._database.transaction() as connection:
                count += await _remove_unneeded(connection, repository, before)
        return count

    async def list_orphans(self) -> list[Digest]:
        """Return the owned blobs that no repository has any more."""
        return [parse_digest(digest) for (digest,) in await self._database.fetch(_LIST_ORPHANS)]

    async def let_go(self, orphans: Sequence[Digest]) -> None:
        """Give up those that are still orphans: to the cache, or marked as leaving, so that their files may go."""
        for batch in batches(orphans):
            async with self._database.transaction() as connection:
                for digest in batch:
                    await _let_go(connection, digest)

    async def _list_due(self, moment: Moment) -> list[tuple[str, float]]:
        """Return each repository with the time before which a link has to be from to be removed."""
        rows = await self._database.fetch(_LIST_REPOSITORIES)
        return [
            (
                name,
                moment.now - (LONGEST_GRACE_SECONDS if _is_busy(name, linked_at, moment) else GRACE_SECONDS),
            )
            for name, linked_at in rows
        ]


class _Undo(Exception):
    """Ends a transaction of which nothing is to stay."""


def _is_busy(name: str, last_linked_at: float, moment: Moment) -> bool:
    return name in moment.uploading or last_linked_at >= moment.now - GRACE_SECONDS


async def _remove_unneeded(connection: aiosqlite.Connection, repository: str, before: float) -> int:
    values = (repository, repository, before)
    return sum([(await connection.execute(sql, values)).rowcount for sql in _REMOVE_UNNEEDED])


async def _let_go(connection: aiosqlite.Connection, digest: Digest) -> None:
    key = str(digest)
    for (is_cached,) in await connection.execute_fetchall(_FIND_ORPHAN, (key, key)):
        if is_cached:
            await connection.execute(_RETURN_TO_CACHE, (key,))
            continue
        await connection.execute(_LET_GO, (key,))
        for sql in _FORGET_MANIFEST:
            await connection.execute(sql, (key,))
