"""What was written where: each entry of a file, of the environment and of the command line with its place.

`tomllib` does not say where a key stood. A statement of TOML ends at the end of a line, so reading a file that is
known to be valid line by line, until what was collected parses, finds each statement and the line it began on.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxycache.config.errors import ConfigError, nearest
from proxycache.config.keys import UPSTREAMS, KeyPath, format_key

VARIABLE_PREFIX = "PROXYCACHE_"
POSITION = re.compile(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key that somebody set. `raw` is what TOML held, or a text where it came from elsewhere."""

    path: KeyPath
    raw: object
    source: str
    is_text: bool = False

    @property
    def where(self) -> str:
        """Return the place as an error begins with it."""
        return self.source.removeprefix("file ")


def file_entries(path: Path) -> list[Entry]:
    """Return what the file sets; ConfigError if it cannot be read or is not TOML."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "is not UTF-8") from error
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error) from error
    lines = locate_keys(text)
    return [Entry(path=key, raw=raw, source=f"file {path}:{_line_of(key, lines)}") for key, raw in _flatten(parsed)]


def environment_entries(environment: Mapping[str, str], upstreams: Iterable[str]) -> list[Entry]:
    """Return what `PROXYCACHE_SECTION__KEY` and `PROXYCACHE_UPSTREAMS__NAME__KEY` set.

    In NAME each character that a variable cannot hold may be written as `_`: DOCKER_IO is docker.io. Variables
    without `__` are not ours: Kubernetes sets PROXYCACHE_PORT and the like for a service of that name.
    """
    entries = []
    for variable, text in sorted(environment.items()):
        section, separator, rest = variable.removeprefix(VARIABLE_PREFIX).partition("__")
        if not variable.startswith(VARIABLE_PREFIX) or not separator:
            continue
        source = f"environment {variable}"
        path: KeyPath = (section.lower(), rest.lower())
        if path[0] == UPSTREAMS:
            name, _, key = rest.rpartition("__")
            path = (UPSTREAMS, _find_upstream(name, upstreams, source), key.lower())
        entries.append(Entry(path=path, raw=text, source=source, is_text=True))
    return entries


def flag_entries(flags: Mapping[str, str]) -> list[Entry]:
    """Return what the command line sets, given as `section.key` → text."""
    return [Entry(path=tuple(key.split(".")), raw=text, source="flag", is_text=True) for key, text in flags.items()]


def locate_keys(text: str) -> dict[KeyPath, int]:
    """Return the line on which each table and key of a valid TOML text begins."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement, begin = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        begin = begin if statement else number
        statement += line + "\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        is_header = statement.lstrip().startswith("[")
        for path in _paths(parsed, () if is_header else table):
            lines.setdefault(path, begin)
            table = path if is_header else table
        statement = ""
    return lines


def _paths(parsed: object, prefix: KeyPath) -> Iterator[KeyPath]:
    if isinstance(parsed, list) and parsed:
        yield from _paths(parsed[-1], prefix)
    if isinstance(parsed, dict):
        for key, value in parsed.items():
            yield (*prefix, key)
            yield from _paths(value, (*prefix, key))


def _flatten(parsed: dict[str, object]) -> Iterator[tuple[KeyPath, object]]:
    """Yield each key; a section that is empty or no section at all is yielded itself."""
    for section, content in parsed.items():
        if not isinstance(content, dict) or not content:
            yield (section,), content
            continue
        for key, value in content.items():
            if section == UPSTREAMS and isinstance(value, dict) and value:
                yield from (((section, key, inner), inner_value) for inner, inner_value in value.items())
            else:
                yield (section, key), value


def _line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 1)


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    found = POSITION.match(str(error))
    reason, line = (found[1], found[2]) if found else (str(error), None)
    return ConfigError(f"{path}:{line or len(text.splitlines())}", f"not TOML: {reason}")


def _find_upstream(written: str, upstreams: Iterable[str], source: str) -> str:
    known = {_as_variable(name): name for name in upstreams}
    if _as_variable(written) in known:
        return known[_as_variable(written)]
    if "." in written or ":" in written:
        return written.lower()
    meant = known.get(nearest(_as_variable(written), known), "")
    raise ConfigError(
        source, "no such upstream", key=format_key((UPSTREAMS, written)), nearest=meant and _as_variable(meant)
    )


def _as_variable(name: str) -> str:
    return re.sub("[^A-Z0-9]", "_", name.upper())
