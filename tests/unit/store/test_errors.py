from pathlib import Path

import pytest

from proxycache.oci.digest import digest_of
from proxycache.oci.errors import ProxycacheError, RegistryError
from proxycache.store.errors import BlobCorrupt, FormatTooNew, StoreBusy, StoreDamaged, StoreError, StoreUnusable

PATH = Path("/data/proxycache.db")

ERRORS = [
    FormatTooNew(PATH, found=3, known=2),
    StoreDamaged(PATH, "file is not a database"),
    StoreUnusable(PATH, "permission denied"),
    StoreBusy(PATH),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_text_is_one_line_that_names_the_file(error: StoreError) -> None:
    assert str(PATH) in str(error)
    assert "\n" not in str(error)


def test_corrupt_blob_names_its_digest() -> None:
    assert str(digest_of(b"x")) in str(BlobCorrupt(digest_of(b"x")))


def test_damage_says_what_to_do() -> None:
    assert "move /data/proxycache.db* away" in str(StoreDamaged(PATH, "file is not a database"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_clients_are_never_told_directly(error: StoreError) -> None:
    assert isinstance(error, ProxycacheError)
    assert not isinstance(error, RegistryError)
