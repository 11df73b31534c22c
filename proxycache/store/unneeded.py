"""Which blobs nobody else needs, once some tags and repositories are put aside.

A blob is needed by each tag that is made of it, and by each repository that has a link to it, or to a held manifest
that is made of it. A tag of what was pushed here needs none but its own, which are owned: the others are borrowed, and
their origin gives them again. The search goes from the blobs up to all that names them, and from there down again: what
is asked about is near, all that there is are many. Everything here is a part of the caller's transaction.
"""

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field

import aiosqlite

from proxycache.store.asked_about import ask_about
from proxycache.store.made_of import with_made_of

# Of this connection only, and kept from one transaction to the next; by number, so that questions do not mix.
_PREPARE = (
    """
    CREATE TEMPORARY TABLE IF NOT EXISTS repositories_aside (
        number INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (number, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TEMPORARY TABLE IF NOT EXISTS tags_aside (
        number INTEGER NOT NULL, repository TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (number, repository, tag)
    ) WITHOUT ROWID
    """,
)
_PUT_REPOSITORY_ASIDE = "INSERT INTO repositories_aside (number, name) VALUES (?, ?)"
_PUT_TAG_ASIDE = "INSERT INTO tags_aside (number, repository, tag) VALUES (?, ?, ?)"
_PUT_BACK = ("DELETE FROM repositories_aside WHERE number = ?", "DELETE FROM tags_aside WHERE number = ?")
_LIST_MADE_OF = with_made_of("SELECT digest FROM asked_about", "SELECT digest FROM made_of")
# CROSS JOIN: in this order, else SQLite reads all tags and all blobs for each question.
_FIND_UNNEEDED = """
    WITH RECURSIVE above (digest) AS (
        SELECT digest FROM asked_about
        UNION
        SELECT manifest_references.manifest FROM above
        JOIN manifest_references ON manifest_references.digest = above.digest
    ), needed (digest) AS (
        SELECT above.digest FROM above CROSS JOIN tags WHERE tags.digest = above.digest
        AND NOT EXISTS (
            SELECT 1 FROM tags_aside
            WHERE tags_aside.number = ? AND tags_aside.repository = tags.repository AND tags_aside.tag = tags.tag
        )
        AND NOT EXISTS (
            SELECT 1 FROM local_manifests
            WHERE local_manifests.repository = tags.repository AND local_manifests.digest = tags.digest
        )
        UNION
        SELECT above.digest FROM above
        JOIN blobs ON blobs.digest = above.digest AND blobs.is_leaving = 0
        JOIN links ON links.digest = above.digest
        WHERE NOT EXISTS (
            SELECT 1 FROM repositories_aside
            WHERE repositories_aside.number = ? AND repositories_aside.name = links.repository
        )
        UNION
        SELECT manifest_references.digest FROM needed
        JOIN manifest_references ON manifest_references.manifest = needed.digest
    )
    SELECT blobs.digest, blobs.size, blobs.rank, blobs.used_at
    FROM asked_about CROSS JOIN blobs
    WHERE blobs.digest = asked_about.digest AND blobs.is_owned = 0 AND blobs.digest NOT IN (SELECT digest FROM needed)
    ORDER BY blobs.digest
"""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A blob that nothing needs."""

    digest: str
    size: int
    rank: float
    used_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What counts as needing nothing: links of these repositories, and these tags, as repository and tag."""

    repositories: Collection[str] = ()
    tags: Collection[tuple[str, str]] = ()
    number: int = field(default_factory=itertools.count(1).__next__)


NOTHING = Aside()


async def list_made_of(connection: aiosqlite.Connection, digests: Collection[str]) -> set[str]:
    """Return `digests` and all that they are made of, as far as manifests are known."""
    await ask_about(connection, digests)
    return {digest for (digest,) in await connection.execute_fetchall(_LIST_MADE_OF)}


async def put_aside(connection: aiosqlite.Connection, aside: Aside) -> None:
    """Have `find_unneeded` know what is put aside, in this transaction and in those that follow, until `put_back`."""
    await _prepare(connection)
    await connection.executemany(_PUT_REPOSITORY_ASIDE, [(aside.number, name) for name in set(aside.repositories)])
    await connection.executemany(_PUT_TAG_ASIDE, [(aside.number, *key) for key in set(aside.tags)])


async def put_back(connection: aiosqlite.Connection, aside: Aside) -> None:
    """Put nothing aside any more."""
    for statement in _PUT_BACK:
        await connection.execute(statement, (aside.number,))


async def find_unneeded(
    connection: aiosqlite.Connection, digests: Collection[str], aside: Aside = NOTHING
) -> list[Unneeded]:
    """Return those of `digests`, in order, that are held, not owned, and needed by nothing but what was put aside."""
    await _prepare(connection)
    await ask_about(connection, digests)
    rows = await connection.execute_fetchall(_FIND_UNNEEDED, (aside.number, aside.number))
    return [Unneeded(*row) for row in rows]


async def _prepare(connection: aiosqlite.Connection) -> None:
    for statement in _PREPARE:
        await connection.execute(statement)
