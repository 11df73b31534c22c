from proxycache.store.database import Database
from proxycache.store.documents import LONGEST_SECONDS, Document, Documents


async def test_unknown_document_is_none(database: Database) -> None:
    assert await Documents(database).find("a") is None


async def test_last_recorded_document_is_found_to_the_byte(database: Database) -> None:
    documents = Documents(database)
    await documents.record("a", b"old", checked_at=1.0)
    await documents.record("a", b"\x00\xff{}", checked_at=2.0)

    assert await documents.find("a") == Document(body=b"\x00\xff{}", checked_at=2.0)


async def test_what_was_not_confirmed_for_a_month_makes_room(database: Database) -> None:
    documents = Documents(database)
    await documents.record("old", b"1", checked_at=1.0)
    await documents.record("younger", b"2", checked_at=2.0)

    await documents.record("new", b"3", checked_at=LONGEST_SECONDS + 2.0)

    assert [await documents.find(key) is None for key in ("old", "younger", "new")] == [True, False, False]
