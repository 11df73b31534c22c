import dataclasses
from pathlib import Path

import pytest

from proxycache.store.settings import StorageSettings


def test_settings_never_change() -> None:
    settings = StorageSettings(directory=Path("/data"))

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.directory = Path("/elsewhere")  # type: ignore[misc]
