"""The options that say which configuration is meant; each is the key of its name and wins over every other source."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from proxycache.config.load import LoadedSettings, load_settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.", show_default=False)
]
ListenOption = Annotated[
    list[str] | None,
    typer.Option("--listen", metavar="HOST:PORT", help="Listen here; may be repeated.", show_default=False),
]
DirectoryOption = Annotated[
    str | None, typer.Option("--directory", metavar="DIR", help="Keep everything here.", show_default=False)
]
WorkersOption = Annotated[
    str | None, typer.Option("--workers", metavar="N", help="Worker processes; 0: one per CPU.", show_default=False)
]
OfflineOption = Annotated[
    bool | None, typer.Option("--offline/--online", help="Never contact an upstream.", show_default=False)
]


def settings_loader(
    config: Path | None,
    *,
    listen: list[str] | None,
    directory: str | None,
    workers: str | None,
    offline: bool | None,
) -> Callable[[], LoadedSettings]:
    """Return what loads the configuration that the options mean, now and again."""
    given = {
        "server.listen": ",".join(listen) if listen else None,
        "server.workers": workers,
        "server.offline": None if offline is None else str(offline).lower(),
        "storage.directory": directory,
    }
    flags = {key: text for key, text in given.items() if text is not None}
    return functools.partial(load_settings, config_file=config, environment=dict(os.environ), flags=flags)
