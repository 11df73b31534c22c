"""When the silence of an origin begins, ends and begins anew; times are hours after START."""

from dataclasses import replace

from proxycache.store.database import Database
from proxycache.store.tables import Tables
from tests.unit.store.test_loans import APP, HUB, ORIGIN, OTHER, TWIN, push

START, HOUR = 1_000_000.0, 3_600.0


async def seen(tables: Tables, hours: float) -> None:
    await tables.origins.record(replace(ORIGIN, seen_at=START + hours * HOUR))


async def silent(tables: Tables, hours: float) -> float:
    """Note a silence, and return since when it lasts."""
    return (await tables.audits.note_silence(ORIGIN, now=START + hours * HOUR) - START) / HOUR


async def due(tables: Tables, hours: float) -> list[str]:
    """Return which origins are to be asked."""
    return [each.origin.repository for each in await tables.audits.list_due(now=START + hours * HOUR, most=10)]


async def at_risk(tables: Tables, hours: float) -> list[str]:
    return [image.repository for image in await tables.audits.list_at_risk(now=START + hours * HOUR)]


async def test_a_silence_that_was_ended_by_an_answer_begins_anew(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await seen(tables, 0)
    await silent(tables, 10)
    await seen(tables, 11)

    assert [await silent(tables, 40), await silent(tables, 41)] == [40, 40]

    assert await at_risk(tables, 63) == []
    assert await at_risk(tables, 64) == [APP]


async def test_a_silence_that_has_ended_is_no_reason_to_ask_sooner(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await seen(tables, 0)
    await silent(tables, 10)
    await seen(tables, 11)

    assert await due(tables, 34) == []
    assert await due(tables, 35) == [HUB]


async def test_an_answer_in_the_moment_of_the_question_ends_a_silence(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await silent(tables, 10)
    await seen(tables, 10)

    assert await silent(tables, 11) == 11


async def test_what_is_borrowed_from_another_origin_has_not_been_asked_for_there(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await seen(tables, 0)
    await tables.origins.record(replace(ORIGIN, repository=TWIN, seen_at=START))
    await silent(tables, 24)

    await tables.local_content.borrow(APP, replace(ORIGIN, repository=TWIN), now=START)

    assert await due(tables, 24) == [TWIN]
    assert await at_risk(tables, 48) == []


async def test_what_is_pushed_again_from_the_same_origin_has_been_asked_for(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await seen(tables, 0)
    await silent(tables, 24)

    await push(tables, tag="2")

    assert await due(tables, 24.5) == []
    assert await at_risk(tables, 48) == [APP, APP]


async def test_one_origin_is_asked_once_for_all_who_borrow_from_it(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await seen(tables, 0)
    await silent(tables, 24)
    await push(tables, repository=OTHER)

    assert await silent(tables, 25) == 24
    assert await due(tables, 26) == [HUB]
    assert await at_risk(tables, 48) == [APP]
