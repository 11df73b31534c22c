from proxycache.oci.digest import digest_of
from proxycache.store.audits import ASK_AGAIN_IN_TROUBLE_SECONDS, ASK_AGAIN_SECONDS, REPORT_AFTER_SECONDS
from proxycache.store.database import Database
from proxycache.store.origins import Origin
from proxycache.store.tables import Tables
from tests.unit.store.test_loans import APP, HUB, IMAGE, LAYER, ORIGIN, push

START = 1_000_000.0


async def known(tables: Tables, seen_at: float = START) -> None:
    await tables.origins.record(Origin(digest=LAYER, repository=HUB, size=50, media_type="layer", seen_at=seen_at))


async def due(tables: Tables, after: float, most: int = 10) -> list[str]:
    return [str(each.origin.digest) for each in await tables.audits.list_due(now=START + after, most=most)]


async def names(tables: Tables, after: float) -> list[str]:
    return [image.name for image in await tables.audits.list_at_risk(now=START + after)]


async def test_what_was_seen_is_due_a_day_later(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await known(tables)

    assert await due(tables, ASK_AGAIN_SECONDS - 1) == []
    assert await due(tables, ASK_AGAIN_SECONDS) == [str(LAYER)]
    await tables.audits.note_answer(ORIGIN, now=START + ASK_AGAIN_SECONDS)
    assert await due(tables, 2 * ASK_AGAIN_SECONDS - 1) == []


async def test_who_is_silent_is_asked_again_in_an_hour_and_told_of_in_a_day(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await known(tables)

    for hours in (24, 25, 26):  # the first silence counts
        await tables.audits.note_silence(ORIGIN, now=START + hours * 3_600)

    last = 26 * 3_600
    assert await due(tables, last + ASK_AGAIN_IN_TROUBLE_SECONDS - 1) == []
    assert await due(tables, last + ASK_AGAIN_IN_TROUBLE_SECONDS) == [str(LAYER)]
    assert await names(tables, 24 * 3_600 + REPORT_AFTER_SECONDS - 1) == []
    assert await names(tables, 24 * 3_600 + REPORT_AFTER_SECONDS) == [f"{APP}:1"]


async def test_an_answer_to_anybody_ends_a_silence(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await known(tables)
    await tables.audits.note_silence(ORIGIN, now=START)

    await known(tables, seen_at=START + 10)

    assert await names(tables, 2 * REPORT_AFTER_SECONDS) == []


async def test_an_image_whose_origin_is_gone_is_told_of_at_once_by_tag_or_digest(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await known(tables)
    assert await names(tables, 0) == []

    await tables.origins.forget(ORIGIN.digest, ORIGIN.repository)
    tagged = await tables.audits.list_at_risk(now=START)
    await tables.local_content.remove_tag(APP, "1")

    assert [(image.name, image.blobs, image.origins, image.silent_since) for image in tagged] == [
        (f"{APP}:1", 1, (HUB,), None)
    ]
    assert await names(tables, 0) == [f"{APP}@{IMAGE}"]


async def test_a_loan_that_no_image_needs_is_nobodys_risk(database: Database) -> None:
    tables = Tables.of(database)
    await tables.local_content.borrow(APP, ORIGIN, now=1.0)

    assert await names(tables, 0) == []


async def test_those_that_wait_longest_are_asked_first(database: Database) -> None:
    tables = Tables.of(database)
    waiting = {name: digest_of(name.encode()) for name in ("c", "a", "b")}
    for number, digest in enumerate(waiting.values()):
        origin = Origin(digest=digest, repository=HUB, size=1, media_type="layer", seen_at=START + number)
        await tables.origins.record(origin)
        await tables.local_content.borrow(APP, origin, now=1.0)

    assert await due(tables, 2 * ASK_AGAIN_SECONDS, most=2) == [str(waiting["c"]), str(waiting["a"])]
