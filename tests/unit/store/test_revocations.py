"""What takes an answer back is counted, in its own transaction; what only comes to be known is not."""

from collections.abc import Awaitable, Callable

import pytest

from proxycache.oci import media_types
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.local_push import ManifestPush
from proxycache.store.manifests import ManifestRow
from proxycache.store.purge import Wanted
from proxycache.store.removal import remove_files
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow
from proxycache.store.usage import FIRST

HUB, APP = "docker.io/library/app", "local/app"
OLD, NEW = digest_of(b"old"), digest_of(b"new")

Change = Callable[[Tables], Awaitable[object]]


def tag(digest: Digest, checked_at: float = 1.0) -> TagRow:
    return TagRow(repository=HUB, tag="1", digest=digest, media_type="a/b", size=3, checked_at=checked_at)


def push(
    media_type: str = media_types.OCI_MANIFEST, tags: tuple[str, ...] = ("1",), content: Digest = OLD
) -> ManifestPush:
    row = ManifestRow(digest=content, media_type=media_type, size=3)
    return ManifestPush(repository=APP, row=row, references=(), needed=(), tags=tags, pushed_at=1.0)


@pytest.fixture
async def tables(database: Database) -> Tables:
    tables = Tables.of(database)
    await tables.tags.record(tag(OLD))
    await tables.links.record(BlobRow(digest=OLD, size=3, is_public=True, stored_at=1.0), repository=HUB)
    await tables.repositories.record_visibility(HUB, is_public=True, checked_at=1.0)
    await tables.local_content.link_blob(APP, NEW, 3, now=1.0)
    await tables.local_content.record_manifest(push())
    return tables


TAKES_BACK: dict[str, Change] = {
    "a tag that moved": lambda tables: tables.tags.record(tag(NEW, 2.0)),
    "a tag that is gone": lambda tables: tables.tags.remove(HUB, "1"),
    "a repository that is private now": lambda tables: tables.repositories.record_visibility(
        HUB, is_public=False, checked_at=2.0
    ),
    "a purge": lambda tables: tables.purge.forget(Wanted(names=[HUB], digest=OLD), is_dry=False),
    "a local tag that moved": lambda tables: tables.local_content.record_manifest(push(content=NEW)),
    "a local tag that was deleted": lambda tables: tables.local_content.remove_tag(APP, "1"),
    "a local manifest that was deleted": lambda tables: tables.local_content.remove_manifest(APP, OLD, now=2.0),
    "a local manifest of another type": lambda tables: tables.local_content.record_manifest(
        push(media_types.DOCKER_MANIFEST, tags=())
    ),
    "a local blob that was deleted": lambda tables: tables.local_content.remove_blob(APP, NEW),
}
LEAVES_TRUE: dict[str, Change] = {
    "a tag that was confirmed": lambda tables: tables.tags.record(tag(OLD, 2.0)),
    "another blob": lambda tables: tables.links.record(
        BlobRow(digest=NEW, size=3, is_public=True, stored_at=1.0), repository=HUB
    ),
    "a blob that was pushed": lambda tables: tables.local_content.link_blob(APP, digest_of(b"x"), 1, now=1.0),
    "another local tag": lambda tables: tables.local_content.record_manifest(push(tags=("2",))),
    "uses": lambda tables: tables.usage.record_uses([OLD], lambda _size, _uses, _is_manifest: 1.0, now=2.0),
    "a dry purge": lambda tables: tables.purge.forget(Wanted(names=[HUB]), is_dry=True),
}


@pytest.mark.parametrize("change", TAKES_BACK.values(), ids=TAKES_BACK)
async def test_what_takes_back_is_counted(database: Database, tables: Tables, change: Change) -> None:
    before = database.revocations()

    await change(tables)

    assert database.revocations() > before


@pytest.mark.parametrize("change", LEAVES_TRUE.values(), ids=LEAVES_TRUE)
async def test_what_leaves_answers_true_is_not(database: Database, tables: Tables, change: Change) -> None:
    before, generation = database.revocations(), database.generation()

    await change(tables)

    assert database.revocations() == before
    assert change is LEAVES_TRUE["a dry purge"] or database.generation() != generation


async def test_an_evicted_blob_is_still_what_it_was(database: Database, tables: Tables, blobs: BlobStore) -> None:
    cached = digest_of(b"cached")
    await tables.links.record(BlobRow(digest=cached, size=3, is_public=True, stored_at=1.0), repository=HUB)
    before = database.revocations()

    leaving, _ = await tables.usage.mark_leaving(FIRST, need=1, most=1)
    removed = await remove_files(blobs, tables.usage, leaving)
    await tables.usage.forget(removed.gone, blobs.has)

    assert [item.digest for item in removed.gone] == [cached]
    assert database.revocations() == before
