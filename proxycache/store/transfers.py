"""How the blobs of a pushed image came: sent by its client, borrowed, or here already.

Each byte that was sent counts for one push: for the first whose manifest names its blob.
"""

from dataclasses import dataclass

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database
from proxycache.store.made_of import with_made_of

_LIST_OWNED = with_made_of(
    "SELECT ?",
    """
    SELECT local_links.digest, local_links.sent_bytes, blobs.size FROM made_of
    JOIN local_links ON local_links.digest = made_of.digest AND local_links.repository = ?
    JOIN blobs ON blobs.digest = made_of.digest
    """,
)
_SUM_BORROWED = with_made_of(
    "SELECT ?",
    """
    SELECT coalesce(sum(borrowed_links.size), 0) FROM made_of
    JOIN borrowed_links ON borrowed_links.digest = made_of.digest AND borrowed_links.repository = ?
    """,
)
_COUNT = "UPDATE local_links SET sent_bytes = 0 WHERE repository = ? AND digest = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Of an image's blobs, in bytes: what its client sent (`sent`: which those were), and what is owned or borrowed."""

    sent_bytes: int
    sent: frozenset[Digest]
    borrowed_bytes: int
    owned_bytes: int


class Transfers:
    """Counts what came over the line for a push."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, repository: str, manifest: Digest) -> Transfer:
        """Return how the blobs of the image came; what was sent is counted with that, and for no other push."""
        key = str(manifest), repository
        async with self._database.transaction() as connection:
            owned = [tuple(row) for row in await connection.execute_fetchall(_LIST_OWNED, key)]
            ((borrowed_bytes,),) = await connection.execute_fetchall(_SUM_BORROWED, key)
            sent = [(digest, size) for digest, size, _ in owned if size]
            await connection.executemany(_COUNT, [(repository, digest) for digest, _ in sent])
        return Transfer(
            sent_bytes=sum(size for _, size in sent),
            sent=frozenset(parse_digest(digest) for digest, _ in sent),
            borrowed_bytes=borrowed_bytes,
            owned_bytes=sum(size for _, _, size in owned),
        )
