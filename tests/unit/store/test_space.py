"""How much room there is, by what lies on the disk."""

from pathlib import Path

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.layout import Layout
from proxycache.store.settings import StorageSettings
from proxycache.store.space import Space

DIGEST, OTHER = digest_of(b"a"), digest_of(b"b")
MIB = 1024 * 1024


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    return layout


def space_of(layout: Layout, *, max_size: int = 100 * MIB, min_free: int = 0) -> Space:
    return Space(layout, StorageSettings(directory=layout.directory, max_size=max_size, min_free=min_free))


async def test_cached_bytes_and_promises_leave_less(layout: Layout) -> None:
    space = space_of(layout)
    before = space.available(0)

    assert space.reserve(DIGEST, 10 * MIB, 0) <= 0

    assert before <= 100 * MIB
    assert space.available(20 * MIB) == before - 30 * MIB
    assert space.available(20 * MIB, besides=layout.reservation(DIGEST).name) == before - 20 * MIB
    await space.release(DIGEST)
    assert space.available(0) == before


def test_what_a_spool_has_on_disk_counts_once(layout: Layout) -> None:
    space = space_of(layout)
    before = space.available(0)
    layout.spool_data(DIGEST).write_bytes(b"x" * (4 * MIB))

    assert space.reserve(DIGEST, 10 * MIB, 0) <= 0

    assert space.available(0) == before - 10 * MIB
    assert space.available(0, besides=layout.reservation(DIGEST).name) == before - 4 * MIB


def test_what_a_spool_has_on_disk_is_a_part_of_what_it_needs(layout: Layout) -> None:
    space = space_of(layout)
    there = space.available(0)
    layout.spool_data(DIGEST).write_bytes(b"x" * (4 * MIB))

    assert space.reserve(OTHER, there, 0) == 4 * MIB
    assert not layout.reservation(OTHER).exists()
    assert space.reserve(DIGEST, there, 0) == 0
    assert layout.reservation(DIGEST).stat().st_size == there


def test_promises_alone_take_no_disk(layout: Layout) -> None:
    space_of(layout).reserve(DIGEST, 50 * MIB, 0)

    assert layout.reservation(DIGEST).stat().st_blocks == 0


def test_min_free_bounds_what_may_come(layout: Layout) -> None:
    assert space_of(layout, min_free=2**60).available(0) < 0
    assert space_of(layout, max_size=0, min_free=2**60).available(0) < 0


def test_what_is_not_in_the_budget_has_the_disk_but_for_promises(layout: Layout) -> None:
    space = space_of(layout, max_size=0)
    before = space.available_on_disk()

    assert space.reserve(DIGEST, before // 2, 0) <= 0

    assert space_of(layout, max_size=1).available_on_disk() < before * 3 // 4
    assert space_of(layout, min_free=2**60).available_on_disk() < 0


def test_no_limit_fits_everything_but_a_budget_only_what_is_smaller(layout: Layout) -> None:
    assert space_of(layout, max_size=0).fits(2**60)
    assert space_of(layout, max_size=10).fits(10)
    assert not space_of(layout, max_size=10).fits(11)
    assert space_of(layout, max_size=100 * MIB).headroom == 5 * MIB
