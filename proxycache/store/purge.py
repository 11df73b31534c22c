"""Forget what is cached and remembered of repositories, of tags, or of one digest.

What another repository or tag needs as well stays (store/unneeded), and so does what was pushed here. The blobs that
nothing needs any more are marked as leaving, in the transaction that forgets the rest; who asked for that removes their
files (store/usage).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiosqlite

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.database import Database
from proxycache.store.pins import find_pinned
from proxycache.store.unneeded import Aside, find_unneeded, list_made_of
from proxycache.store.usage import MARK, Candidate

# A tag is used when its manifest is; of one that is not held, it is known when its upstream was asked.
_LIST_TAGS = """
    SELECT tags.tag, tags.digest, coalesce(blobs.used_at, tags.checked_at), EXISTS (
        SELECT 1 FROM pins WHERE pins.repository = tags.repository AND (pins.tag = '' OR pins.tag = tags.tag)
    )
    FROM tags LEFT JOIN blobs ON blobs.digest = tags.digest WHERE tags.repository = ?
"""
_LIST_LINKS = "SELECT digest FROM links WHERE repository = ?"
_FIND_BLOB = "SELECT size, rank, used_at FROM blobs WHERE digest = ?"
_LIST_NEGATIVES = "SELECT key FROM negatives WHERE key >= ? AND key < ?"
_LIST_DOCUMENTS = "SELECT key FROM documents WHERE key >= ? AND key < ?"
_COUNT_REVOCATION = "UPDATE revocations SET count = count + 1"
_FORGET_TAG = "DELETE FROM tags WHERE repository = ? AND tag = ?"
_FORGET_LINK = "DELETE FROM links WHERE repository = ? AND digest = ?"
_FORGET_NEGATIVE = "DELETE FROM negatives WHERE key = ?"
_FORGET_DOCUMENT = "DELETE FROM documents WHERE key = ?"
_FORGET_VISIBILITY = "DELETE FROM repositories WHERE name = ?"
# But what is borrowed from there: who borrows it has to know.
_FORGET_ORIGIN = """
    DELETE FROM origins WHERE repository = ? AND NOT EXISTS (
        SELECT 1 FROM borrowed_links
        WHERE borrowed_links.digest = origins.digest AND borrowed_links.origin = origins.repository
    )
"""
# Which answers are kept under keys of a repository, and where.
_ANSWERS = (
    ("tag", _LIST_NEGATIVES, _FORGET_NEGATIVE),
    ("manifest", _LIST_NEGATIVES, _FORGET_NEGATIVE),
    ("blob", _LIST_NEGATIVES, _FORGET_NEGATIVE),
    ("referrers", _LIST_DOCUMENTS, _FORGET_DOCUMENT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to forget of the repositories `names`: the tags that `is_tag` admits, or one `digest`; without both, all.

    `used_before`: only what was last used before then, and no answers such as "not found". `spares_pinned`: what is
    pinned stays; otherwise nothing goes where a part of it is pinned.
    """

    names: Sequence[str]
    is_tag: Callable[[str], bool] | None = None
    digest: Digest | None = None
    used_before: float | None = None
    spares_pinned: bool = False

    @property
    def is_all(self) -> bool:
        """Whether whole repositories are meant."""
        return self.is_tag is None and self.digest is None

    def names_digest(self, digest: str) -> bool:
        """Tell whether `digest` is meant, as itself and not as a part of something."""
        return self.is_tag is None and self.digest in (None, parse_digest(digest))

    def names_tag(self, tag: str, digest: str) -> bool:
        """Tell whether a tag that points to `digest` is meant."""
        return self.is_tag(tag) if self.is_tag is not None else self.names_digest(digest)

    def names_answer(self, kind: str, reference: str) -> bool:
        """Tell whether an answer about a tag or a digest is meant."""
        if kind == "tag":
            return self.is_all or (self.is_tag is not None and self.is_tag(reference))
        return self.names_digest(reference)

    def is_old(self, used_at: float) -> bool:
        """Tell whether what was last used at `used_at` was not used for long enough."""
        return self.used_before is None or used_at < self.used_before


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What leaves, and which repositories, or tags as NAME:TAG, are forgotten; `pinned` blobs stay for being that.

    `is_known`: there was something of what was wanted, however lately it was used.
    """

    leaving: Sequence[Candidate] = ()
    forgotten: Sequence[str] = ()
    pinned: int = 0
    is_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    repository: str
    tag: str
    digest: str
    used_at: float
    is_pinned: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.repository, self.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """All that there is of what is wanted, however lately it was used; the `other_tags` of its repositories are not."""

    tags: list[_Tag] = field(default_factory=list)
    other_tags: list[_Tag] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Going:
    """What goes of it. In `pinned` is what would go too, were it not pinned."""

    tags: list[_Tag]
    links: list[tuple[str, str]]
    leaving: list[Candidate]
    pinned: set[str]


class Purge:
    """Forgets, over all tables at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, wanted: Wanted, *, is_dry: bool) -> Purged:
        """Forget what is wanted; `is_dry`: only tell what that would be."""
        async with self._database.transaction() as connection:
            found = await _find(connection, wanted)
            going = await _choose(connection, wanted, found)
            if going.pinned and not wanted.spares_pinned:
                return Purged(pinned=len(going.pinned))
            if not is_dry:
                await _forget(connection, wanted, found, going)
        forgotten = {":".join(tag.key) for tag in going.tags}
        if wanted.is_all and wanted.used_before is None:
            forgotten = {name for name, _ in (*going.links, *(tag.key for tag in going.tags))}
        return Purged(
            leaving=going.leaving,
            forgotten=sorted(forgotten),
            pinned=len(going.pinned),
            is_known=any((found.tags, found.links, found.answers, going.leaving)),
        )


async def _find(connection: aiosqlite.Connection, wanted: Wanted) -> _Found:
    found = _Found()
    for name in wanted.names:
        for tag, digest, used_at, is_pinned in await connection.execute_fetchall(_LIST_TAGS, (name,)):
            row = _Tag(repository=name, tag=tag, digest=digest, used_at=used_at, is_pinned=bool(is_pinned))
            (found.tags if wanted.names_tag(tag, digest) else found.other_tags).append(row)
        for (digest,) in await connection.execute_fetchall(_LIST_LINKS, (name,)):
            if wanted.names_digest(digest):
                found.links.append((name, digest))
        for kind, find, forget in _ANSWERS:
            beginning = f"{kind} {name} "
            for (key,) in await connection.execute_fetchall(find, (beginning, f"{kind} {name}!")):
                if wanted.used_before is None and wanted.names_answer(kind, key.removeprefix(beginning)):
                    found.answers.append((forget, key))
    return found


async def _choose(connection: aiosqlite.Connection, wanted: Wanted, found: _Found) -> _Going:
    pinned = await find_pinned(connection)
    old = [tag for tag in found.tags if wanted.is_old(tag.used_at)]
    tags = [tag for tag in old if not (tag.is_pinned and wanted.spares_pinned)]
    spared = pinned if wanted.spares_pinned else set()
    links = [link for link in found.links if link[1] not in spared] if wanted.used_before is None else []
    going = _Going(tags=tags, links=links, leaving=[], pinned={tag.digest for tag in old if tag.is_pinned})
    for digest in sorted(await _find_unneeded(connection, wanted, found, tags)):
        for size, rank, used_at in await connection.execute_fetchall(_FIND_BLOB, (digest,)):
            if digest in pinned and wanted.is_old(used_at):
                going.pinned.add(digest)
            elif wanted.is_old(used_at):
                going.leaving.append(Candidate(digest=parse_digest(digest), size=size, rank=rank))
    return going


async def _find_unneeded(
    connection: aiosqlite.Connection, wanted: Wanted, found: _Found, going: list[_Tag]
) -> set[str]:
    """Return what nothing needs but what is wanted, when the tags `going` are no more."""
    whole = Aside(repositories=wanted.names, tags=[tag.key for tag in found.tags + found.other_tags])
    if wanted.is_all:
        digests = {digest for _, digest in found.links} | {tag.digest for tag in found.tags}
        return await find_unneeded(connection, await list_made_of(connection, digests), whole)
    tags = [tag.key for tag in going]
    if wanted.digest is None:
        aside = Aside(repositories={tag.repository for tag in going}, tags=tags)
        return await find_unneeded(connection, await list_made_of(connection, {tag.digest for tag in going}), aside)
    named = {str(wanted.digest)}
    for _, _, used_at in await connection.execute_fetchall(_FIND_BLOB, (*named,)):
        if not wanted.is_old(used_at):
            return set()
    # What is named goes although tags of its own repository are made of it; what itself is made of does not.
    made_of = await list_made_of(connection, named)
    aside = Aside(repositories=wanted.names, tags=tags)
    return await find_unneeded(connection, named, whole) | await find_unneeded(connection, made_of, aside)


async def _forget(connection: aiosqlite.Connection, wanted: Wanted, found: _Found, going: _Going) -> None:
    await connection.executemany(MARK, [(str(item.digest),) for item in going.leaving])
    await connection.executemany(_FORGET_TAG, [tag.key for tag in going.tags])
    await connection.executemany(_FORGET_LINK, going.links)
    await connection.execute(_COUNT_REVOCATION)
    for forget, key in found.answers:
        await connection.execute(forget, (key,))
    if wanted.is_all and wanted.used_before is None:
        for statement in (_FORGET_VISIBILITY, _FORGET_ORIGIN):
            await connection.executemany(statement, [(name,) for name in wanted.names])
