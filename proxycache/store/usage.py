"""When blobs were last used, what they take on disk, and in which order they leave it.

Rows before files on the way out (invariant 2): a blob is marked as leaving, then its file is removed, then its row. Who
is killed in between has its marks found by the next. A blob that somebody reads stays, and so does a pinned one: that
is decided in the transaction that marks, and looked at again before the file goes, so that a pin which was acknowledged
holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database
from proxycache.store.pins import PINNED, find_pinned
from proxycache.store.unneeded import find_unneeded

_CACHED_BYTES = "SELECT cached_bytes FROM space"
# By digest: the plus keeps the index of all that is not owned out of it.
_PINNED_BYTES = f"""
    SELECT coalesce(sum((size + 4095) / 4096 * 4096), 0) FROM blobs WHERE +is_owned = 0 AND digest IN ({PINNED})
"""  # noqa: S608 - both texts are ours
_FIND_USE = """
    SELECT size, uses, EXISTS (SELECT 1 FROM manifests WHERE manifests.digest = blobs.digest)
    FROM blobs WHERE digest = ?
"""
_RECORD_USE = """
    UPDATE blobs SET used_at = ?, uses = uses + 1, rank = (SELECT level FROM space) + ? WHERE digest = ?
"""
_LIST_LEAVING = f"""
    SELECT digest, size, rank, is_scarce FROM blobs WHERE is_leaving = 1 AND digest NOT IN ({PINNED})
"""  # noqa: S608 - both texts are ours
# From the blob up to all that names it; but where nothing is pinned, nowhere.
_IS_LEAVING = """
    WITH RECURSIVE above (digest) AS (
        SELECT digest FROM blobs WHERE digest = ? AND is_leaving = 1
        UNION
        SELECT manifest_references.manifest FROM above
        JOIN manifest_references ON manifest_references.digest = above.digest WHERE EXISTS (SELECT 1 FROM pins)
    )
    SELECT 1 FROM blobs WHERE digest = ? AND is_leaving = 1
    AND NOT EXISTS (
        SELECT 1 FROM above JOIN tags ON tags.digest = above.digest
        JOIN pins ON pins.repository = tags.repository AND (pins.tag = '' OR pins.tag = tags.tag)
    )
    AND NOT EXISTS (
        SELECT 1 FROM above JOIN links ON links.digest = above.digest
        JOIN pins ON pins.repository = links.repository AND pins.tag = ''
    )
"""
_LIST_NEXT = """
    SELECT digest, size, rank, is_scarce FROM blobs
    WHERE (is_scarce, rank, digest) > (?, ?, ?) AND is_leaving = 0 AND is_owned = 0
    ORDER BY is_scarce, rank, digest LIMIT ?
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
_OWNED_BYTES = "SELECT coalesce(sum((size + 4095) / 4096 * 4096), 0) FROM blobs WHERE is_owned = 1"
_LIST_REPOSITORIES = """
    WITH held (repository, digest, is_local) AS (
        SELECT repository, digest, 0 FROM links
        UNION SELECT repository, digest, 1 FROM local_links
        UNION SELECT repository, digest, 1 FROM local_manifests
    ), holders (digest, number) AS (SELECT digest, count(*) FROM held GROUP BY digest)
    SELECT held.repository, held.is_local, count(*), sum(blobs.size),
        sum(CASE WHEN holders.number > 1 THEN blobs.size ELSE 0 END),
        (SELECT count(*) FROM tags WHERE tags.repository = held.repository)
    FROM held JOIN holders ON holders.digest = held.digest JOIN blobs ON blobs.digest = held.digest
    GROUP BY held.repository, held.is_local ORDER BY held.repository
"""
# Of the repositories from one name up to another; what else has a blob is another upstream, or was pushed here.
_FIND_UPSTREAM_USE = """
    SELECT count(*), coalesce(sum(size), 0), coalesce(sum(CASE
        WHEN EXISTS (SELECT 1 FROM links WHERE links.digest = blobs.digest AND (repository < ? OR repository >= ?))
        OR EXISTS (SELECT 1 FROM local_links WHERE local_links.digest = blobs.digest)
        OR EXISTS (SELECT 1 FROM local_manifests WHERE local_manifests.digest = blobs.digest)
        THEN size ELSE 0 END), 0)
    FROM blobs WHERE digest IN (SELECT digest FROM links WHERE repository >= ? AND repository < ?)
"""
_LIST_LOWEST = f"""
    SELECT digest, size, used_at, uses FROM blobs
    WHERE is_leaving = 0 AND is_owned = 0 AND digest NOT IN ({PINNED})
    ORDER BY is_scarce, rank, digest LIMIT ?
"""  # noqa: S608 - both texts are ours

Place = tuple[bool, float, str]
FIRST: Place = (False, float("-inf"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A blob that may leave, of `size` bytes. `is_scarce`: after all that are not."""

    digest: Digest
    size: int
    rank: float
    is_scarce: bool = False

    @property
    def place(self) -> Place:
        """Where it stands in the order in which blobs leave."""
        return self.is_scarce, self.rank, str(self.digest)

    @property
    def taken(self) -> int:
        """What it takes on disk, in bytes, as `cached_bytes` counts."""
        return -(-self.size // 4096) * 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryUse:
    """What a repository may serve and is here, in bytes; `shared_bytes` of them another repository serves as well.

    `is_local`: it lives here, and all of that is owned. `tags` are those that are known.
    """

    name: str
    is_local: bool
    blobs: int
    size: int
    shared_bytes: int
    tags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamUse:
    """What all repositories of an upstream have here, each blob counted once.

    `shared_bytes` of them another upstream serves as well, or they were pushed here.
    """

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
        self._pinned_bytes = 0
        self._pinned_at: int | None = None

    async def cached_bytes(self) -> int:
        """Return what the cached blobs take on disk, in bytes."""
        rows = await self._database.fetch(_CACHED_BYTES)
        count: int = rows[0][0]
        return count

    async def evictable_bytes(self) -> int:
        """Return what the cached blobs that are not pinned take on disk, in bytes; some of them may be being read."""
        generation = self._database.generation()
        if generation != self._pinned_at:  # what is pinned takes long to find where it is much
            ((self._pinned_bytes,),) = await self._database.fetch(_PINNED_BYTES)
            self._pinned_at = generation
        return await self.cached_bytes() - self._pinned_bytes

    async def owned_bytes(self) -> int:
        """Return what the owned blobs take on disk, in bytes, each counted once."""
        ((count,),) = await self._database.fetch(_OWNED_BYTES)
        return int(count)

    async def record_uses(
        self, digests: Iterable[Digest], worth: Callable[[int, int, bool], float], *, now: float
    ) -> None:
        """Note one more use of each; `worth` tells from size, uses and "is a manifest" how far above the level."""
        async with self._database.transaction() as connection:
            for digest in map(str, digests):
                for size, uses, is_manifest in await connection.execute_fetchall(_FIND_USE, (digest,)):
                    gained = worth(size, uses + 1, bool(is_manifest))
                    await connection.execute(_RECORD_USE, (now, gained, digest))

    async def mark_leaving(self, after: Place, *, need: int, most: int) -> tuple[list[Candidate], Place | None]:
        """Mark what is to be removed next, behind `after`: enough for `need` bytes on disk, `most` of them at most.

        What is marked already is somebody else's, see `list_leaving`. Also returns where to go on; None: these were
        the last.
        """
        async with self._database.transaction() as connection:
            rows = await connection.execute_fetchall(_LIST_NEXT, (*after, most))
            ranked = [_candidate(tuple(row)) for row in rows]
            pinned = await find_pinned(connection, [str(item.digest) for item in ranked])
            free = [item for item in ranked if str(item.digest) not in pinned]
            chosen = _enough(free, need)
            await connection.executemany(MARK, [(str(item.digest),) for item in chosen])
        if len(chosen) < len(free):
            return chosen, chosen[-1].place if chosen else after
        return chosen, ranked[-1].place if ranked else None

    async def is_leaving(self, digest: Digest) -> bool:
        """Tell whether the blob is still to go, and not pinned; raises StoreError where that cannot be told."""
        return bool(await self._database.fetch(_IS_LEAVING, (str(digest), str(digest))))

    async def list_leaving(self) -> list[Candidate]:
        """Return what was marked and not removed: it was being read, or who marked it was killed.

        Not what is pinned by now.
        """
        return [_candidate(row) for row in await self._database.fetch(_LIST_LEAVING)]

    async def choose_unneeded(self, marked: Sequence[Candidate]) -> list[Candidate]:
        """Return what of `marked` nothing has come to need, and nobody to pin, since that was marked."""
        digests = [str(item.digest) for item in marked]
        async with self._database.transaction() as connection:
            unneeded = {blob.digest for blob in await find_unneeded(connection, digests)}
            pinned = await find_pinned(connection, digests)
        return [item for item in marked if str(item.digest) in unneeded - pinned]

    async def unmark(self, digest: Digest) -> None:
        """Let the blob stay, for now; whoever asks makes sure that its file does (store/removal)."""
        async with self._database.transaction() as connection:
            await connection.execute(_STAY, (str(digest),))

    async def forget(self, gone: Sequence[Candidate], is_back: Callable[[Digest], bool], *, level: float = 0.0) -> None:
        """Forget the rows of those whose files are gone; the level rises to `level`.

        `is_back` tells whether there is a file again: then the mark, if there is one, is somebody else's.
        """
        async with self._database.transaction() as connection:
            digests = [(str(item.digest),) for item in gone if not is_back(item.digest)]
            await connection.executemany(_FORGET, digests)
            await connection.executemany(_FORGET_LINKS, digests)
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
            RepositoryUse(name=name, is_local=bool(local), blobs=count, size=size, shared_bytes=shared, tags=tags)
            for name, local, count, size, shared, tags in rows
        ]

    async def find_upstream(self, name: str) -> UpstreamUse:
        """Return what an upstream's repositories have here together."""
        span = (f"{name}/", f"{name}0")  # the character behind a slash
        ((count, size, shared),) = await self._database.fetch(_FIND_UPSTREAM_USE, span * 2)
        return UpstreamUse(name=name, blobs=count, size=size, shared_bytes=shared)

    async def list_next(self, count: int) -> list[NextToGo]:
        """Return what is worth least of what may go; what is pinned may not."""
        rows = await self._database.fetch(_LIST_LOWEST, (count,))
        return [NextToGo(digest=row[0], size=row[1], used_at=row[2], uses=row[3]) for row in rows]


def _candidate(values: tuple[Any, ...]) -> Candidate:
    digest, size, rank, is_scarce = values
    return Candidate(digest=parse_digest(digest), size=size, rank=rank, is_scarce=bool(is_scarce))


def _enough(candidates: Sequence[Candidate], need: int) -> list[Candidate]:
    chosen = []
    for candidate in candidates:
        if need <= 0:
            break
        chosen.append(candidate)
        need -= candidate.taken
    return chosen
