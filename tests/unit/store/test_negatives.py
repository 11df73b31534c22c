import pytest

from proxycache.store.database import Database
from proxycache.store.negatives import Negatives


@pytest.fixture
def negatives(database: Database) -> Negatives:
    return Negatives(database)


async def test_unknown_key_has_no_answer(negatives: Negatives) -> None:
    assert await negatives.find("a", 0.0) is None


async def test_answer_counts_until_its_end(negatives: Negatives) -> None:
    await negatives.record("a", "MANIFEST_UNKNOWN", until=160.0, now=100.0)

    assert await negatives.find("a", 159.9) == "MANIFEST_UNKNOWN"
    assert await negatives.find("a", 160.0) is None


async def test_last_answer_counts(negatives: Negatives) -> None:
    await negatives.record("a", "MANIFEST_UNKNOWN", until=160.0, now=100.0)
    await negatives.record("a", "NAME_UNKNOWN", until=170.0, now=110.0)

    assert await negatives.find("a", 165.0) == "NAME_UNKNOWN"


async def test_ended_answers_make_room(negatives: Negatives, database: Database) -> None:
    for number in range(5):
        await negatives.record(str(number), "NAME_UNKNOWN", until=160.0 + number, now=100.0)

    await negatives.record("last", "NAME_UNKNOWN", until=222.0, now=162.0)

    assert await database.fetch("SELECT key FROM negatives ORDER BY key") == [("3",), ("4",), ("last",)]
