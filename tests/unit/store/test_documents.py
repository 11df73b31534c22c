from proxycache.store.database import Database
from proxycache.store.documents import Document, Documents


async def test_unknown_document_is_none(database: Database) -> None:
    assert await Documents(database).find("a") is None


async def test_last_recorded_document_is_found_to_the_byte(database: Database) -> None:
    documents = Documents(database)
    await documents.record("a", b"old", checked_at=1.0)
    await documents.record("a", b"\x00\xff{}", checked_at=2.0)

    assert await documents.find("a") == Document(body=b"\x00\xff{}", checked_at=2.0)
