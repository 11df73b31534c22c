"""Room for small blobs: never more than was promised, also when its process is gone."""

import os
from pathlib import Path

import pytest

from proxycache.oci.digest import Digest, digest_of
from proxycache.store.allowance import Allowance
from proxycache.store.settings import StorageSettings

BUDGET = 64 * 1024 * 1024
ONE_BLOCK = 4096


def digest(number: int) -> Digest:
    return digest_of(str(number).encode())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "allowances").mkdir()
    return tmp_path / "allowances"


def allowance_in(directory: Path, *, max_size: int = BUDGET) -> Allowance:
    return Allowance(directory, StorageSettings(directory=directory, max_size=max_size))


def renew(allowance: Allowance) -> None:
    spent = allowance.spent
    allowance.write(allowance.size + sum(allowance.given.values()))
    allowance.renewed(spent)


def test_nothing_is_given_before_something_was_promised(directory: Path) -> None:
    assert not allowance_in(directory).give(digest(1), 1)


def test_no_more_is_given_than_was_promised(directory: Path) -> None:
    allowance = allowance_in(directory)
    renew(allowance)

    given = 0
    while allowance.give(digest(given), 1):
        given += 1

    assert given * ONE_BLOCK == allowance.size
    assert allowance.promised_by_all(but_own=False) == allowance.size


def test_what_is_on_its_way_at_a_renewal_stays_promised(directory: Path) -> None:
    allowance = allowance_in(directory)
    renew(allowance)
    allowance.give(digest(1), ONE_BLOCK)

    renew(allowance)

    assert allowance.promised_by_all(but_own=False) == allowance.size + ONE_BLOCK


def test_what_was_given_during_a_renewal_is_taken_from_it(directory: Path) -> None:
    allowance = allowance_in(directory)
    renew(allowance)
    spent = allowance.spent
    allowance.give(digest(1), ONE_BLOCK)

    allowance.renewed(spent)

    assert sum(allowance.give(digest(number), 1) for number in range(2, 1000)) == allowance.size // ONE_BLOCK - 1


def test_large_blobs_get_none_and_a_small_budget_gives_little(directory: Path) -> None:
    assert not allowance_in(directory).is_for(BUDGET // 64)
    assert allowance_in(directory, max_size=64 * ONE_BLOCK).size == ONE_BLOCK
    assert allowance_in(directory, max_size=0).is_for(1024 * 1024)


def test_the_promises_of_living_processes_count_and_those_of_dead_ones_do_not(directory: Path) -> None:
    own, other = allowance_in(directory), allowance_in(directory)
    renew(own)
    child = os.fork()
    if child == 0:
        renew(other)
        os._exit(0)
    os.waitpid(child, 0)
    assert other.path.exists()

    assert own.promised_by_all(but_own=False) == own.size
    assert not other.path.exists()
    renew(other)
    assert own.promised_by_all(but_own=True) == other.size
    other.close()
    assert own.promised_by_all(but_own=True) == 0
