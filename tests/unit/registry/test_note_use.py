"""Uses are written down in small transactions, and each of them once."""

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from proxycache.oci.digest import digest_of
from proxycache.registry.note_use import Uses
from proxycache.store.database import Database
from proxycache.store.errors import StoreError
from proxycache.store.layout import Layout
from proxycache.store.usage import Usage
from tests.fakes.clock import FakeClock
from tests.unit.turns import count_at_each_turn

COUNT, MOST_AT_ONCE = 450, 200
DIGESTS = [digest_of(str(number).encode()) for number in range(COUNT)]
USED = "SELECT count(*) FROM blobs WHERE uses = 2"
REFUSE = f"""
    CREATE TRIGGER refuse BEFORE UPDATE OF uses ON blobs WHEN (SELECT sum(uses) FROM blobs) = {COUNT + 300} BEGIN
        SELECT RAISE(ABORT, 'no more');
    END
"""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    database = await Database.open(layout.database)
    await Usage(database).add_strays(dict.fromkeys(DIGESTS, 1), now=1.0)
    yield database
    await database.close()


@pytest.fixture
def uses(database: Database) -> Uses:
    uses = Uses(Usage(database), FakeClock())
    for digest in DIGESTS:
        uses.note(digest)
    return uses


async def test_others_write_between_a_few_uses_and_the_next(database: Database, uses: Uses) -> None:
    seen = await count_at_each_turn(database, USED, uses.write())

    assert max(after - before for before, after in pairwise([0, *seen, COUNT])) == MOST_AT_ONCE
    assert await database.fetch(USED) == [(COUNT,)]


async def test_what_was_written_before_a_failure_is_not_written_again(database: Database, uses: Uses) -> None:
    async with database.transaction() as connection:
        await connection.execute(REFUSE)

    with pytest.raises(StoreError):
        await uses.write()
    written = await database.fetch(USED)
    async with database.transaction() as connection:
        await connection.execute("DROP TRIGGER refuse")
    await uses.write()

    assert (written, await database.fetch(USED)) == ([(MOST_AT_ONCE,)], [(COUNT,)])


async def test_nothing_is_written_where_nothing_was_used(database: Database, uses: Uses) -> None:
    await uses.write()
    before = database.generation()

    await uses.write()

    assert database.generation() == before
