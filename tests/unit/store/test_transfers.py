from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.tables import Tables
from tests.unit.store.test_loans import APP, CONFIG, IMAGE, SECOND, hold, push


async def test_each_byte_that_was_sent_counts_for_one_image(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)

    first = await tables.transfers.count(APP, IMAGE)
    again = await tables.transfers.count(APP, IMAGE)

    assert (first.sent_bytes, first.sent, first.borrowed_bytes, first.owned_bytes) == (5, frozenset({CONFIG}), 50, 5)
    assert (again.sent_bytes, again.sent, again.borrowed_bytes, again.owned_bytes) == (0, frozenset(), 50, 5)


async def test_what_is_sent_twice_counts_twice(database: Database) -> None:
    tables = Tables.of(database)
    await tables.local_content.link_blob(APP, CONFIG, 5, now=1.0)

    await push(tables)

    assert (await tables.transfers.count(APP, IMAGE)).sent_bytes == 10


async def test_what_was_taken_from_here_was_not_sent(database: Database) -> None:
    tables = Tables.of(database)
    await push(tables)
    await hold(tables)
    await tables.transfers.count(APP, IMAGE)
    await tables.local_content.mount(APP, digest_of(b"layer"), now=1.0)

    counted = await tables.transfers.count(APP, IMAGE)

    assert (counted.sent_bytes, counted.borrowed_bytes, counted.owned_bytes) == (0, 0, 55)


async def test_of_an_unknown_manifest_there_is_nothing(database: Database) -> None:
    counted = await Tables.of(database).transfers.count(APP, SECOND)

    assert (counted.sent_bytes, counted.borrowed_bytes, counted.owned_bytes) == (0, 0, 0)
