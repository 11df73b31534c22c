import logging

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.links import BlobRow
from proxycache.store.removal import let_stay, remove_files
from proxycache.store.tables import Tables
from proxycache.store.usage import FIRST, Candidate

CONTENTS = [b"one", b"two", b"three"]


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables.of(database)


@pytest.fixture
async def marked(tables: Tables, blobs: BlobStore) -> list[Candidate]:
    """Blobs that are about to go, in their order of rank."""
    for rank, content in enumerate(CONTENTS):
        await blobs.put(digest_of(content), content)
        row = BlobRow(digest=digest_of(content), size=len(content), is_public=True, stored_at=1.0, worth=float(rank))
        await tables.links.record(row, repository="docker.io/library/base")
    chosen, _ = await tables.usage.mark_leaving(FIRST, need=3 * 4096, most=100)
    return chosen


async def test_files_go_and_what_is_being_read_stays(tables: Tables, blobs: BlobStore, marked: list[Candidate]) -> None:
    reader = blobs.open(marked[1].digest)
    assert reader is not None

    with reader:
        removed = await remove_files(blobs, tables.usage, marked)
    await let_stay(blobs, tables.usage, removed.stayed)
    await tables.usage.forget(removed.gone, blobs.has)

    assert (removed.gone, removed.stayed, removed.size) == ([marked[0], marked[2]], [marked[1]], 8)
    assert [blobs.has(item.digest) for item in marked] == [False, True, False]
    assert [await tables.links.find(item.digest) is not None for item in marked] == [False, True, False]
    assert not await tables.usage.is_leaving(marked[1].digest)


async def test_what_the_disk_refuses_to_remove_keeps_no_others(
    tables: Tables, blobs: BlobStore, layout: Layout, marked: list[Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    path = layout.blob(marked[0].digest)
    path.unlink()
    path.mkdir()

    with caplog.at_level(logging.WARNING):
        removed = await remove_files(blobs, tables.usage, marked)

    assert (removed.gone, removed.stayed) == (marked[1:], marked[:1])
    assert [record.message for record in caplog.records] == ["cannot remove blob"]


async def test_the_mark_of_what_somebody_else_removes_is_theirs(
    tables: Tables, blobs: BlobStore, marked: list[Candidate]
) -> None:
    reader = blobs.open(marked[0].digest)
    assert reader is not None
    with reader:
        ours = await remove_files(blobs, tables.usage, marked[:1])
    theirs = await remove_files(blobs, tables.usage, marked[:1])

    await let_stay(blobs, tables.usage, ours.stayed)
    await tables.usage.forget(theirs.gone, blobs.has)

    assert (ours.stayed, theirs.gone) == (marked[:1], marked[:1])
    assert await tables.links.find(marked[0].digest) is None


async def test_what_came_back_in_the_meantime_keeps_its_row(
    tables: Tables, blobs: BlobStore, marked: list[Candidate]
) -> None:
    removed = await remove_files(blobs, tables.usage, marked)
    back = marked[0]
    await blobs.put(back.digest, CONTENTS[0])
    row = BlobRow(digest=back.digest, size=back.size, is_public=True, stored_at=2.0)
    await tables.links.record(row, repository="docker.io/library/base")
    await tables.usage.mark_leaving(FIRST, need=3 * 4096, most=100)

    await tables.usage.forget(removed.gone, blobs.has)

    assert [await tables.usage.is_leaving(item.digest) for item in marked] == [True, False, False]
