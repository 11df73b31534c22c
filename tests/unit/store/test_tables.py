from dataclasses import fields

from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.tables import Tables


async def test_all_tables_stand_on_one_database(database: Database) -> None:
    tables = Tables.of(database)
    digest = digest_of(b"layer")

    await tables.links.record(
        BlobRow(digest=digest, size=5, is_public=True, stored_at=1.0), repository="docker.io/library/alpine"
    )

    assert await Tables.of(database).links.has("docker.io/library/alpine", digest)
    assert await tables.repositories.list_names(n=10, last=None) == ["docker.io/library/alpine"]


def test_each_table_is_there_under_the_name_of_its_file() -> None:
    for field in fields(Tables):
        assert getattr(field.type, "__module__", "") == f"proxycache.store.{field.name}"
