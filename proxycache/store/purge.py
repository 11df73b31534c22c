"""Forget what is cached and remembered of repositories, of tags, or of one digest.

What another repository or tag needs as well stays (store/unneeded), and so does what was pushed here. The blobs that
nothing needs any more are marked as leaving; who asked for that removes their files (store/usage).

What goes is looked for without holding up anybody who writes (store/purge_plan), and goes a little at a time: first
blobs, each with its need and its pins looked at again in the transaction that marks it; with the last of them the tags,
and then links, since these are what all the rest is found by. Who is killed in between, or does not get a turn to
write, has forgotten less, and is done by asking again. What is pulled meanwhile loses its mark, and stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxycache.store.database import Database, batches
from proxycache.store.pins import find_pinned
from proxycache.store.purge_plan import Group, Plan, Wanted, choose_leaving, make_plan
from proxycache.store.unneeded import find_unneeded, put_back
from proxycache.store.usage import MARK, Candidate

__all__ = ["Purge", "Purged", "Wanted"]

_COUNT_REVOCATION = "UPDATE revocations SET count = count + 1"
# A pin that has come since the decision keeps what it names.
_FORGET_TAG = """
    DELETE FROM tags WHERE repository = ? AND tag = ? AND NOT EXISTS (
        SELECT 1 FROM pins WHERE pins.repository = tags.repository AND (pins.tag = '' OR pins.tag = tags.tag)
    )
"""
_FORGET_LINK = """
    DELETE FROM links WHERE repository = ? AND digest = ? AND NOT EXISTS (
        SELECT 1 FROM pins WHERE pins.repository = links.repository AND pins.tag = ''
    )
"""
_FORGET_ANSWER = {
    "negatives": "DELETE FROM negatives WHERE key = ?",
    "documents": "DELETE FROM documents WHERE key = ?",
}
_FORGET_VISIBILITY = "DELETE FROM repositories WHERE name = ?"
# But what is borrowed from there: who borrows it has to know.
_FORGET_ORIGIN = """
    DELETE FROM origins WHERE repository = ? AND NOT EXISTS (
        SELECT 1 FROM borrowed_links
        WHERE borrowed_links.digest = origins.digest AND borrowed_links.origin = origins.repository
    )
"""
_FORGET_LEARNT = "DELETE FROM learnt_bases WHERE repository = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What leaves, and which repositories, or tags as NAME:TAG, are forgotten; `pinned` blobs stay for being that.

    `left`: what was to leave before, whatever it was a part of, and stayed because somebody read it or for a failure.
    `is_known`: there was something of what was wanted, however lately it was used.
    """

    leaving: Sequence[Candidate] = ()
    left: Sequence[Candidate] = ()
    forgotten: Sequence[str] = ()
    pinned: int = 0
    is_known: bool = True


class Purge:
    """Forgets, over all tables at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, wanted: Wanted, *, is_dry: bool) -> Purged:
        """Forget what is wanted; `is_dry`: only tell what that would be."""
        async with self._database.snapshot() as connection:
            plan = await make_plan(connection, wanted)
        is_refused = bool(plan.pinned) and not wanted.spares_pinned
        leaving = plan.leaving if is_dry or is_refused else await self._carry_out(wanted, plan)
        async with self._database.snapshot() as connection:
            for group in plan.groups:
                await put_back(connection, group.aside)
        if is_refused:
            return Purged(pinned=len(plan.pinned))
        return Purged(
            leaving=sorted(leaving, key=lambda item: str(item.digest)),
            left=plan.left,
            forgotten=_tell_forgotten(wanted, plan),
            pinned=len(plan.pinned),
            is_known=plan.is_known,
        )

    async def _carry_out(self, wanted: Wanted, plan: Plan) -> list[Candidate]:
        """Return the blobs that are marked now."""
        for table, statement in _FORGET_ANSWER.items():
            await self._delete(statement, [(key,) for where, key in plan.answers if where == table])
        if wanted.is_all and wanted.used_before is None:
            for statement in (_FORGET_VISIBILITY, _FORGET_ORIGIN, _FORGET_LEARNT):
                await self._delete(statement, [(name,) for name in wanted.names])
        leaving = await self._mark_and_forget_tags(wanted, plan)
        await self._delete(_FORGET_LINK, plan.links)
        return leaving

    async def _mark_and_forget_tags(self, wanted: Wanted, plan: Plan) -> list[Candidate]:
        """A tag goes with the last of the marks or behind it: as long as it is there, it tells what is still to do."""
        tags = list(batches([tag.key for tag in plan.tags])) or [[]]
        parts = [Group(leaving=some, aside=group.aside) for group in plan.groups for some in batches(group.leaving)]
        leaving = []
        for part in parts[:-1]:
            leaving += await self._mark(wanted, part)
        for part in parts[-1:]:
            leaving += await self._mark(wanted, part, tags.pop(0))
        for some in tags:
            await self._delete(_FORGET_TAG, some)
        return leaving

    async def _delete(self, statement: str, rows: Sequence[tuple[str, ...]]) -> None:
        for some in batches(rows):
            async with self._database.transaction() as connection:
                await connection.executemany(statement, some)
                await connection.execute(_COUNT_REVOCATION)

    async def _mark(self, wanted: Wanted, group: Group, tags: Sequence[tuple[str, str]] = ()) -> list[Candidate]:
        """Mark what still may go of the group, and forget `tags` with it."""
        async with self._database.transaction() as connection:
            digests = [str(item.digest) for item in group.leaving]
            unneeded = await find_unneeded(connection, digests, group.aside)
            leaving, _ = choose_leaving(wanted, unneeded, await find_pinned(connection, digests))
            await connection.executemany(MARK, [(str(item.digest),) for item in leaving])
            await connection.executemany(_FORGET_TAG, tags)
            await connection.execute(_COUNT_REVOCATION)
        return leaving


def _tell_forgotten(wanted: Wanted, plan: Plan) -> list[str]:
    if wanted.is_all and wanted.used_before is None:
        return sorted({name for name, _ in (*plan.links, *(tag.key for tag in plan.tags))})
    return sorted({":".join(tag.key) for tag in plan.tags})
