"""The digests that a question is about: a temporary table, which a question of any length joins."""

from collections.abc import Iterable

import aiosqlite

# Of this connection only; nothing of it is in the file, so that a dry run commits nothing.
_PREPARE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS asked_about (digest TEXT NOT NULL PRIMARY KEY)",
    "DELETE FROM asked_about",
)
_ASK_ABOUT = "INSERT INTO asked_about (digest) VALUES (?)"


async def ask_about(connection: aiosqlite.Connection, digests: Iterable[str]) -> None:
    """Put `digests` in the place of those of the question before, as a part of the caller's transaction."""
    for statement in _PREPARE:
        await connection.execute(statement)
    await connection.executemany(_ASK_ABOUT, [(digest,) for digest in set(digests)])
