"""Which blobs their upstream says that it no longer has: they are scarce, and leave after all others (store/usage).

What only a tag or a manifest is made of becomes scarce when the upstream says that it has no such thing, and is not
any more once the upstream gives it, or names it, again. What another tag names stays as it is, of whatever repository.
Both are a part of the transaction that records what the upstream said.
"""

import aiosqlite

from proxycache.oci.digest import Digest
from proxycache.store.made_of import with_made_of

# From each part up to all that names it, since a tag and a base layer are near, but all tags are many. `is_through`:
# by way of what is gone, which the tags of the repository that lost it do not keep.
_MAKE_SCARCE = with_made_of(
    "SELECT ?",
    """
    , named_by (digest, name, is_through) AS (
        SELECT digest, digest, digest = ? FROM made_of
        UNION
        SELECT named_by.digest, manifest_references.manifest, named_by.is_through OR manifest_references.manifest = ?
        FROM named_by JOIN manifest_references ON manifest_references.digest = named_by.name
    )
    UPDATE blobs SET is_scarce = 1 WHERE digest IN (SELECT digest FROM made_of) AND digest NOT IN (
        SELECT named_by.digest FROM named_by JOIN tags ON tags.digest = named_by.name
        WHERE NOT (named_by.is_through AND tags.repository = ?)
    )
    """,
)
# By digest, of which there are few: the plus keeps the index of all scarce blobs out of it.
_END_SCARCITY = with_made_of(
    "SELECT ?",
    "UPDATE blobs SET is_scarce = 0 WHERE +is_scarce = 1 AND digest IN (SELECT digest FROM made_of)",
)


async def note_tag_gone(connection: aiosqlite.Connection, digest: str) -> None:
    """Make scarce what `digest` is made of, which a tag named that is gone and already forgotten."""
    await connection.execute(_MAKE_SCARCE, (digest, digest, digest, ""))


async def note_manifest_gone(connection: aiosqlite.Connection, digest: Digest, repository: str) -> None:
    """Make scarce what the manifest `digest` is made of, which the upstream's `repository` does not have any more."""
    manifest = str(digest)
    await connection.execute(_MAKE_SCARCE, (manifest, manifest, manifest, repository))


async def note_given(connection: aiosqlite.Connection, digest: Digest) -> None:
    """The upstream gave `digest`, or says that it has it: nothing that it is made of is scarce."""
    await connection.execute(_END_SCARCITY, (str(digest),))
