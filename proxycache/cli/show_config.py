"""`proxycache config`: the effective settings and where each comes from, secrets masked."""

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from proxycache.cli.options import (
    ConfigOption,
    DirectoryOption,
    ListenOption,
    OfflineOption,
    WorkersOption,
    settings_loader,
)
from proxycache.config.keys import BARE_KEY, effective_values, format_key
from proxycache.config.load import LoadedSettings


def show_config(
    *,
    config: ConfigOption = None,
    listen: ListenOption = None,
    directory: DirectoryOption = None,
    workers: WorkersOption = None,
    offline: OfflineOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the effective settings and where each comes from."""
    loaded = settings_loader(config, listen=listen, directory=directory, workers=workers, offline=offline)()
    typer.echo(_render_json(loaded) if as_json else "\n".join(_render_toml(loaded)))


def _render_json(loaded: LoadedSettings) -> str:
    entries = {
        format_key(path): {"value": value, "source": loaded.sources[format_key(path)]}
        for path, value in effective_values(loaded.settings).items()
    }
    return json.dumps(entries, indent=2, ensure_ascii=False)


def _render_toml(loaded: LoadedSettings) -> Iterator[str]:
    yield f"# file: {loaded.file or 'none'}"
    section = None
    for path, value in effective_values(loaded.settings).items():
        if path[:-1] != section:
            section = path[:-1]
            yield f"\n[{format_key(section)}]"
        source = loaded.sources[format_key(path)]
        # Written back as a setting, a mask would be an error: a password has no place in a file.
        assignment = f"{'# ' if path[-1] == 'password' else ''}{path[-1]} = {toml_literal(value)}"
        yield f"{assignment:<50} # {source}"


def toml_literal(value: object) -> str:
    """Return `value` as TOML writes it on one line."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(toml_literal(item) for item in value)}]"
        case dict():
            pairs = (f"{_toml_key(key)} = {toml_literal(item)}" for key, item in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _toml_key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else json.dumps(key)
