"""Which blobs nobody else needs, once some tags and repositories are put aside.

A blob is needed by each tag that is made of it, and by each repository that has a link to it, or to a held manifest
that is made of it. A tag of what was pushed here needs none but its own, which are owned: the others are borrowed, and
their origin gives them again. The search goes from the blobs up to all that names them, and from there down again: what
is asked about is near, all that there is are many. Everything here is a part of the caller's transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass

import aiosqlite

from proxycache.store.made_of import with_made_of

# Of this connection only; nothing of it is in the file, so that a dry run commits nothing.
_PREPARE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS asked_about (digest TEXT NOT NULL PRIMARY KEY)",
    "CREATE TEMPORARY TABLE IF NOT EXISTS repositories_aside (name TEXT NOT NULL PRIMARY KEY)",
    "CREATE TEMPORARY TABLE IF NOT EXISTS tags_aside (repository TEXT, tag TEXT, PRIMARY KEY (repository, tag))",
    "DELETE FROM asked_about",
    "DELETE FROM repositories_aside",
    "DELETE FROM tags_aside",
)
_ASK_ABOUT = "INSERT INTO asked_about (digest) VALUES (?)"
_PUT_REPOSITORY_ASIDE = "INSERT INTO repositories_aside (name) VALUES (?)"
_PUT_TAG_ASIDE = "INSERT INTO tags_aside (repository, tag) VALUES (?, ?)"
_LIST_MADE_OF = with_made_of("SELECT digest FROM asked_about", "SELECT digest FROM made_of")
_FIND_UNNEEDED = """
    WITH RECURSIVE above (digest) AS (
        SELECT digest FROM asked_about
        UNION
        SELECT manifest_references.manifest FROM above
        JOIN manifest_references ON manifest_references.digest = above.digest
    ), needed (digest) AS (
        SELECT above.digest FROM above JOIN tags ON tags.digest = above.digest
        WHERE NOT EXISTS (
            SELECT 1 FROM tags_aside WHERE tags_aside.repository = tags.repository AND tags_aside.tag = tags.tag
        )
        AND NOT EXISTS (
            SELECT 1 FROM local_manifests
            WHERE local_manifests.repository = tags.repository AND local_manifests.digest = tags.digest
        )
        UNION
        SELECT above.digest FROM above
        JOIN blobs ON blobs.digest = above.digest AND blobs.is_leaving = 0
        JOIN links ON links.digest = above.digest
        WHERE NOT EXISTS (SELECT 1 FROM repositories_aside WHERE repositories_aside.name = links.repository)
        UNION
        SELECT manifest_references.digest FROM needed
        JOIN manifest_references ON manifest_references.manifest = needed.digest
    )
    SELECT blobs.digest, blobs.size, blobs.rank, blobs.used_at
    FROM asked_about JOIN blobs ON blobs.digest = asked_about.digest
    WHERE blobs.is_owned = 0 AND blobs.digest NOT IN (SELECT digest FROM needed)
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

    repositories: Collection[str]
    tags: Collection[tuple[str, str]]


async def list_made_of(connection: aiosqlite.Connection, digests: Collection[str]) -> set[str]:
    """Return `digests` and all that they are made of, as far as manifests are known."""
    await _prepare(connection, digests)
    return {digest for (digest,) in await connection.execute_fetchall(_LIST_MADE_OF)}


async def find_unneeded(connection: aiosqlite.Connection, digests: Collection[str], aside: Aside) -> list[Unneeded]:
    """Return those of `digests`, in order, that are held, not owned, and needed by nothing but what is put aside."""
    await _prepare(connection, digests)
    await connection.executemany(_PUT_REPOSITORY_ASIDE, [(name,) for name in set(aside.repositories)])
    await connection.executemany(_PUT_TAG_ASIDE, set(aside.tags))
    return [Unneeded(*row) for row in await connection.execute_fetchall(_FIND_UNNEEDED)]


async def _prepare(connection: aiosqlite.Connection, digests: Collection[str]) -> None:
    for statement in _PREPARE:
        await connection.execute(statement)
    await connection.executemany(_ASK_ABOUT, [(digest,) for digest in set(digests)])
