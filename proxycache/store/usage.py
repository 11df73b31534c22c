"""When blobs were last used, what they take on disk, and in which order they leave it.

Rows before files on the way out (invariant 2): a blob is marked as leaving, then its file is removed, then its row. Who
is killed in between has its marks found by the next. A blob that somebody reads stays, and so does a pinned one: that
is decided in the transaction that marks, so that a pin which was acknowledged holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiosqlite

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database
from proxycache.store.pins import find_pinned

_CACHED_BYTES = "SELECT cached_bytes FROM space"
_FIND_USE = """
    SELECT size, uses, EXISTS (SELECT 1 FROM manifests WHERE manifests.digest = blobs.digest)
    FROM blobs WHERE digest = ?
"""
_RECORD_USE = """
    UPDATE blobs SET used_at = ?, uses = uses + 1, rank = (SELECT level FROM space) + ? WHERE digest = ?
"""
_LIST_LEAVING = "SELECT digest, size, rank FROM blobs WHERE is_leaving = 1 LIMIT ?"
_LIST_NEXT = """
    SELECT digest, size, rank FROM blobs WHERE (rank, digest) > (?, ?) AND is_leaving = 0
    ORDER BY rank, digest LIMIT ?
"""
_ADD_STRAY = """
    INSERT INTO blobs (digest, size, is_public, stored_at, used_at, rank)
    VALUES (?, ?, 0, ?, ?, (SELECT level FROM space)) ON CONFLICT (digest) DO NOTHING
"""
MARK = "UPDATE blobs SET is_leaving = 1 WHERE digest = ?"
_STAY = "UPDATE blobs SET is_leaving = 0 WHERE digest = ?"
_FORGET = "DELETE FROM blobs WHERE digest = ? AND is_leaving = 1"
# What a manifest names stays known: its size, and where it came from. A blob that came back meanwhile has its row.
_FORGET_LINKS = """
    DELETE FROM links WHERE digest = ?
    AND NOT EXISTS (SELECT 1 FROM manifests WHERE manifests.digest = links.digest)
    AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = links.digest)
"""
_RAISE_LEVEL = "UPDATE space SET level = ? WHERE level < ?"
_LIST_REPOSITORIES = """
    SELECT links.repository, count(*), sum(blobs.size), sum(
        CASE WHEN (SELECT count(*) FROM links AS others WHERE others.digest = links.digest) > 1
        THEN blobs.size ELSE 0 END
    )
    FROM links JOIN blobs ON blobs.digest = links.digest GROUP BY links.repository ORDER BY links.repository
"""
_LIST_LOWEST = "SELECT digest, size, used_at, uses FROM blobs WHERE is_leaving = 0 ORDER BY rank, digest LIMIT ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A blob that may leave, of `size` bytes."""

    digest: Digest
    size: int
    rank: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryUse:
    """What a repository may serve and is here, in bytes; `shared_bytes` of them another repository serves as well."""

    name: str
    blobs: int
    size: int
    shared_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextToGo:
    """A blob of those that are worth least."""

    digest: str
    size: int
    used_at: float
    uses: int


class Usage:
    """The columns of `blobs` that say how it is used, and the table `space`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cached_bytes(self) -> int:
        """Return what all blobs take on disk, in bytes."""
        rows = await self._database.fetch(_CACHED_BYTES)
        count: int = rows[0][0]
        return count

    async def record_uses(
        self, digests: Iterable[Digest], worth: Callable[[int, int, bool], float], *, now: float
    ) -> None:
        """Note one more use of each; `worth` tells from size, uses and "is a manifest" how far above the level."""
        async with self._database.transaction() as connection:
            for digest in map(str, digests):
                for size, uses, is_manifest in await connection.execute_fetchall(_FIND_USE, (digest,)):
                    gained = worth(size, uses + 1, bool(is_manifest))
                    await connection.execute(_RECORD_USE, (now, gained, digest))

    async def mark_leaving(
        self, after: tuple[float, str], *, need: int, most: int
    ) -> tuple[list[Candidate], tuple[float, str] | None]:
        """Mark what is to be removed next, behind `after` in rank: enough for `need` bytes, `most` of them at most.

        What somebody marked before and did not come to remove is among them. Also returns where to go on; None: these
        were the last.
        """
        async with self._database.transaction() as connection:
            left = await _candidates(connection, _LIST_LEAVING, (most,))
            ranked = await _candidates(connection, _LIST_NEXT, (*after, most))
            pinned = await find_pinned(connection)
            chosen = _enough([item for item in left + ranked if str(item.digest) not in pinned], need)
            await connection.executemany(MARK, [(str(item.digest),) for item in chosen])
        return chosen, (ranked[-1].rank, str(ranked[-1].digest)) if ranked else None

    async def forget(self, gone: Sequence[Candidate], stayed: Sequence[Candidate], *, level: float) -> None:
        """Forget the rows of those whose files are gone, and unmark the others; the level rises to `level`."""
        digests = [(str(item.digest),) for item in gone]
        async with self._database.transaction() as connection:
            await connection.executemany(_FORGET, digests)
            await connection.executemany(_FORGET_LINKS, digests)
            await connection.executemany(_STAY, [(str(item.digest),) for item in stayed])
            await connection.execute(_RAISE_LEVEL, (level, level))

    async def add_strays(self, sizes: Mapping[Digest, int], *, now: float) -> int:
        """Make rows for those of these files that have none, as nobody's and worth nothing; return how many."""
        values = [(str(digest), size, now, now) for digest, size in sizes.items()]
        async with self._database.transaction() as connection:
            return (await connection.executemany(_ADD_STRAY, values)).rowcount

    async def list_repositories(self) -> list[RepositoryUse]:
        """Return what each repository has here."""
        rows = await self._database.fetch(_LIST_REPOSITORIES)
        return [
            RepositoryUse(name=name, blobs=count, size=size, shared_bytes=shared) for name, count, size, shared in rows
        ]

    async def list_next(self, count: int) -> list[NextToGo]:
        """Return what is worth least, pinned or not."""
        rows = await self._database.fetch(_LIST_LOWEST, (count,))
        return [NextToGo(digest=row[0], size=row[1], used_at=row[2], uses=row[3]) for row in rows]


async def _candidates(connection: aiosqlite.Connection, sql: str, values: Sequence[object]) -> list[Candidate]:
    rows = await connection.execute_fetchall(sql, values)
    return [Candidate(digest=parse_digest(digest), size=size, rank=rank) for digest, size, rank in rows]


def _enough(candidates: Sequence[Candidate], need: int) -> list[Candidate]:
    chosen = []
    for candidate in candidates:
        if need <= 0:
            break
        chosen.append(candidate)
        need -= candidate.size
    return chosen
