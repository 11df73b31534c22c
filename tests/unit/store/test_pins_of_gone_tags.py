"""A pin holds when it is needed most: when the upstream has lost the tag."""

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.links import BlobRow
from proxycache.store.tables import Tables
from proxycache.store.tags import TagRow
from proxycache.store.usage import FIRST

HUB, LAYER = "docker.io/library/app", digest_of(b"layer")


@pytest.mark.parametrize(("pinned", "is_kept"), [("1", True), ("", True), ("2", False)])
async def test_what_a_pinned_tag_named_stays_when_its_upstream_has_lost_it(
    database: Database, pinned: str, is_kept: bool
) -> None:
    tables = Tables.of(database)
    row = TagRow(repository=HUB, tag="1", digest=LAYER, media_type="a/b", size=3, checked_at=1.0)
    await tables.tags.record(row)
    await tables.links.record(BlobRow(digest=LAYER, size=3, is_public=True, stored_at=1.0), repository=HUB)
    await tables.pins.add(HUB, pinned, now=1.0)

    await tables.tags.remove(HUB, "1", checked_at=2.0)

    chosen, _ = await tables.usage.mark_leaving(FIRST, need=1, most=10)
    assert [item.digest for item in chosen] == ([] if is_kept else [LAYER])
