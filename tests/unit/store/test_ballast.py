"""What the database has left where the disk has nothing."""

import os
import shutil
from pathlib import Path

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.ballast import Ballast
from proxycache.store.layout import Layout
from proxycache.store.settings import StorageSettings
from proxycache.store.space import Space

MIB = 1024 * 1024


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    return layout


def ballast_in(layout: Layout, max_size: int) -> Ballast:
    return Ballast(layout.ballast, StorageSettings(directory=layout.directory, max_size=max_size))


def test_it_takes_its_room_at_once_and_a_small_budget_has_a_small_one(layout: Layout) -> None:
    for max_size, size in ((0, 4 * MIB), (64 * MIB, MIB), (2**40, 4 * MIB)):
        ballast = ballast_in(layout, max_size)

        ballast.make(free=4 * MIB)

        assert (ballast.size, ballast.missing) == (size, 0)
        assert layout.ballast.stat().st_size == size
        assert layout.ballast.stat().st_blocks * 512 >= size


def test_it_is_not_made_where_there_is_no_room(layout: Layout) -> None:
    ballast = ballast_in(layout, 64 * MIB)

    ballast.make(free=MIB - 1)

    assert ballast.missing == MIB
    assert not layout.ballast.exists()


def test_a_budget_of_nearly_nothing_has_none(layout: Layout) -> None:
    ballast_in(layout, 1).make(free=MIB)

    assert not layout.ballast.exists()


def test_it_stays_until_the_disk_has_less_room_than_it_takes(layout: Layout) -> None:
    ballast = ballast_in(layout, 0)
    ballast.make(free=4 * MIB)

    ballast.drop()
    assert layout.ballast.exists()
    os.truncate(layout.ballast, 2 * shutil.disk_usage(layout.directory).free)
    ballast.drop()

    assert not layout.ballast.exists()
    ballast.drop()  # by another process as well


def test_it_goes_before_a_database_is_opened(layout: Layout) -> None:
    layout.ballast.touch()
    os.truncate(layout.ballast, 2 * shutil.disk_usage(layout.directory).free)

    layout.prepare()

    assert not layout.ballast.exists()


def test_nobody_else_gets_its_room_while_it_is_away(layout: Layout) -> None:
    space = Space(layout, StorageSettings(directory=layout.directory, max_size=64 * MIB, min_free=0))
    before = space.available(0)
    free = space.available_on_disk()
    assert space.reserve(digest_of(b"a"), before, 0) <= 0

    space.restore_ballast()

    assert layout.ballast.stat().st_size == MIB
    assert space.available(0) == 0
    assert space.available_on_disk() <= free


def test_one_that_is_long_and_takes_nothing_is_not_made_yet(layout: Layout) -> None:
    ballast = ballast_in(layout, 64 * MIB)
    layout.ballast.touch()
    os.truncate(layout.ballast, MIB)  # who made it was killed
    assert ballast.missing == MIB

    ballast.make(free=MIB)

    assert layout.ballast.stat().st_blocks * 512 >= MIB
    assert ballast.missing == 0


def test_one_of_a_larger_budget_is_shortened(layout: Layout) -> None:
    ballast_in(layout, 0).make(free=4 * MIB)

    ballast_in(layout, 64 * MIB).make(free=0)

    assert layout.ballast.stat().st_size == MIB
    assert layout.ballast.stat().st_blocks * 512 < 2 * MIB
