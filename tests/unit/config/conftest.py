from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from proxycache.config.errors import ConfigError
from proxycache.config.load import LoadedSettings, load_settings

Load = Callable[..., LoadedSettings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration whose file holds `text`."""

    def load(text: str = "", *, environment: Mapping[str, str] = {}, flags: Mapping[str, str] = {}) -> LoadedSettings:
        file = tmp_path / "proxycache.toml"
        file.write_text(text)
        return load_settings(config_file=file, environment=environment, flags=flags)

    return load


@pytest.fixture
def refusal(load: Load, tmp_path: Path) -> Callable[..., str]:
    """Return why a configuration is refused, without the directory of its file."""

    def refusal(text: str = "", **sources: Mapping[str, str]) -> str:
        with pytest.raises(ConfigError) as refused:
            load(text, **sources)
        return str(refused.value).removeprefix(f"{tmp_path}/")

    return refusal
