"""What a purge would forget, and which blobs nothing needs then: the decision, which changes nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import aiosqlite

from proxycache.oci.digest import Digest, parse_digest
from proxycache.store.pins import list_pinned
from proxycache.store.unneeded import Aside, Unneeded, find_unneeded, list_made_of, put_aside
from proxycache.store.usage import Candidate

# A tag is used when its manifest is; of one that is not held, it is known when its upstream was asked.
_LIST_TAGS = """
    SELECT tags.tag, tags.digest, coalesce(blobs.used_at, tags.checked_at), EXISTS (
        SELECT 1 FROM pins WHERE pins.repository = tags.repository AND (pins.tag = '' OR pins.tag = tags.tag)
    )
    FROM tags LEFT JOIN blobs ON blobs.digest = tags.digest WHERE tags.repository = ?
"""
_LIST_LINKS = "SELECT digest FROM links WHERE repository = ?"
_FIND_USED_AT = "SELECT used_at FROM blobs WHERE digest = ?"
_LIST_NEGATIVES = "SELECT key FROM negatives WHERE key >= ? AND key < ?"
_LIST_DOCUMENTS = "SELECT key FROM documents WHERE key >= ? AND key < ?"
_LIST_MARKED = "SELECT digest FROM blobs WHERE is_leaving = 1"
# Which answers are kept under keys of a repository, and where.
_ANSWERS = (
    ("tag", "negatives", _LIST_NEGATIVES),
    ("manifest", "negatives", _LIST_NEGATIVES),
    ("blob", "negatives", _LIST_NEGATIVES),
    ("referrers", "documents", _LIST_DOCUMENTS),
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
class KnownTag:
    """A tag that is known of, and when it was last used."""

    repository: str
    tag: str
    digest: str
    used_at: float
    is_pinned: bool

    @property
    def key(self) -> tuple[str, str]:
        """What names it."""
        return self.repository, self.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Blobs that nothing needs but what is put `aside`."""

    leaving: Sequence[Candidate]
    aside: Aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes. In `pinned` is what would go too, were it not pinned; `left` was to go before and is still here.

    `answers`: the table and the key of each. `is_known`: there is something of what is wanted, however lately used.
    """

    tags: Sequence[KnownTag]
    links: Sequence[tuple[str, str]]
    answers: Sequence[tuple[str, str]]
    groups: Sequence[Group]
    left: Sequence[Candidate]
    pinned: set[str]
    is_known: bool

    @property
    def leaving(self) -> list[Candidate]:
        """All the blobs that go."""
        return [item for group in self.groups for item in group.leaving]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """All that there is of what is wanted, however lately it was used; the `other_tags` of its repositories are not."""

    tags: list[KnownTag] = field(default_factory=list)
    other_tags: list[KnownTag] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)


async def make_plan(connection: aiosqlite.Connection, wanted: Wanted) -> Plan:
    """Decide what goes; what is put aside for that stays aside for this connection, until it is put back."""
    found = await _find(connection, wanted)
    pinned = await list_pinned(connection)
    old = [tag for tag in found.tags if wanted.is_old(tag.used_at)]
    tags = [tag for tag in old if not (tag.is_pinned and wanted.spares_pinned)]
    spared = pinned if wanted.spares_pinned else set()
    links = [link for link in found.links if link[1] not in spared] if wanted.used_before is None else []
    groups, stay = [], {tag.digest for tag in old if tag.is_pinned}
    for digests, aside in await _ask(connection, wanted, found, tags):
        await put_aside(connection, aside)
        leaving, kept = choose_leaving(wanted, await find_unneeded(connection, digests, aside), pinned)
        groups.append(Group(leaving=leaving, aside=aside))
        stay |= kept
    going = {str(item.digest) for group in groups for item in group.leaving}
    return Plan(
        tags=tags,
        links=links,
        answers=found.answers,
        groups=groups,
        left=await _find_left(connection, wanted, pinned | going),
        pinned=stay,
        is_known=any((found.tags, found.links, found.answers, going)),
    )


def choose_leaving(wanted: Wanted, unneeded: Iterable[Unneeded], pinned: set[str]) -> tuple[list[Candidate], set[str]]:
    """Return which of the blobs that nothing needs leave, in order, and which stay for being pinned only."""
    leaving, kept = list[Candidate](), set[str]()
    for blob in unneeded:
        if not wanted.is_old(blob.used_at):
            continue
        if blob.digest in pinned:
            kept.add(blob.digest)
        else:
            leaving.append(Candidate(digest=parse_digest(blob.digest), size=blob.size, rank=blob.rank))
    return leaving, kept


async def _find_left(connection: aiosqlite.Connection, wanted: Wanted, others: set[str]) -> list[Candidate]:
    """Return what was marked before, by whoever was killed or found a reader, and what nothing has needed since."""
    marked = {digest for (digest,) in await connection.execute_fetchall(_LIST_MARKED)} - others
    unneeded = await find_unneeded(connection, marked)
    leaving, _ = choose_leaving(wanted, unneeded, others)
    return leaving


async def _find(connection: aiosqlite.Connection, wanted: Wanted) -> _Found:
    found = _Found()
    for name in wanted.names:
        for tag, digest, used_at, is_pinned in await connection.execute_fetchall(_LIST_TAGS, (name,)):
            row = KnownTag(repository=name, tag=tag, digest=digest, used_at=used_at, is_pinned=bool(is_pinned))
            (found.tags if wanted.names_tag(tag, digest) else found.other_tags).append(row)
        for (digest,) in await connection.execute_fetchall(_LIST_LINKS, (name,)):
            if wanted.names_digest(digest):
                found.links.append((name, digest))
        for kind, table, find in _ANSWERS:
            beginning = f"{kind} {name} "
            for (key,) in await connection.execute_fetchall(find, (beginning, f"{kind} {name}!")):
                if wanted.used_before is None and wanted.names_answer(kind, key.removeprefix(beginning)):
                    found.answers.append((table, key))
    return found


async def _ask(
    connection: aiosqlite.Connection, wanted: Wanted, found: _Found, going: list[KnownTag]
) -> list[tuple[set[str], Aside]]:
    """Return which digests to ask about, and what is put aside for that, when the tags `going` are no more."""
    whole = Aside(repositories=wanted.names, tags=[tag.key for tag in found.tags + found.other_tags])
    if wanted.is_all:
        digests = {digest for _, digest in found.links} | {tag.digest for tag in found.tags}
        return [(await list_made_of(connection, digests), whole)]
    tags = [tag.key for tag in going]
    if wanted.digest is None:
        aside = Aside(repositories={tag.repository for tag in going}, tags=tags)
        return [(await list_made_of(connection, {tag.digest for tag in going}), aside)]
    named = {str(wanted.digest)}
    for (used_at,) in await connection.execute_fetchall(_FIND_USED_AT, (*named,)):
        if not wanted.is_old(used_at):
            return []
    # What is named goes although tags of its own repository are made of it; what itself is made of does not.
    parts = await list_made_of(connection, named) - named
    return [(named, whole), (parts, Aside(repositories=wanted.names, tags=tags))]
