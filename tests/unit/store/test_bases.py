from proxycache.oci.digest import digest_of
from proxycache.store.bases import Bases
from proxycache.store.database import Database

ONE, TWO = "docker.io/library/one:1", "docker.io/library/two:1"


async def test_a_base_is_added_once_and_removed_once(database: Database) -> None:
    bases = Bases(database)
    for reference in (TWO, ONE, TWO):
        await bases.add(reference, now=1.0)

    assert await bases.list_added() == [ONE, TWO]
    assert [await bases.remove(TWO), await bases.remove(TWO)] == [True, False]
    assert await bases.list_added() == [ONE]


async def test_what_was_learnt_of_a_base_is_forgotten_with_it(database: Database) -> None:
    bases = Bases(database)
    for now, content in enumerate((b"old", b"new")):
        await bases.note_learnt(ONE, digest_of(content), now=now)

    assert await bases.find_learnt(ONE) == digest_of(b"new")
    assert not await bases.remove(ONE)
    assert await bases.find_learnt(ONE) is None
