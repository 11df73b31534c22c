"""From defaults, a file, the environment and flags, in this order, to settings that know where they come from.

Strict: what is not understood is an error with its place, and nothing is used of a configuration that has one.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from proxycache.config.certificate import PAIR, Certificate, load_certificate
from proxycache.config.errors import ConfigError
from proxycache.config.keys import (
    CLIENT_KEYS,
    FRESHNESS_KEYS,
    RULE_KEYS,
    SECTIONS,
    UPSTREAMS,
    KeyPath,
    effective_values,
    find_kind,
    format_key,
)
from proxycache.config.kinds import SECRET
from proxycache.config.model import (
    BUILT_IN_URLS,
    DOCKER_HUB,
    ConfiguredUpstream,
    LocalSettings,
    ServerSettings,
    Settings,
)
from proxycache.config.sources import Entry, environment_entries, file_entries, flag_entries
from proxycache.observe.settings import LogSettings
from proxycache.policy.admission import RuleSettings
from proxycache.policy.freshness import FreshnessSettings
from proxycache.registry.settings import AuthSettings, check_users
from proxycache.store.settings import StorageSettings
from proxycache.upstream.settings import UpstreamSettings, check_files, find_egress_proxies

FILE_NAME = "proxycache.toml"
SERVICE_DIRECTORY = Path("/var/lib/proxycache")
UPSTREAM_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")
RELOADABLE = (UPSTREAMS, "local", "auth")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """The effective settings, and for each key `default`, `file PATH:LINE`, `environment VARIABLE` or `flag`.

    `certificate` is what the files held that `server` names.
    """

    settings: Settings
    sources: Mapping[str, str]
    file: Path | None
    certificate: Certificate | None = None

    def reloaded(self, fresh: "LoadedSettings") -> "LoadedSettings":
        """Return `fresh` with everything as it was that only a restart can change."""
        settings = dataclasses.replace(
            self.settings, **{section: getattr(fresh.settings, section) for section in RELOADABLE}
        )
        if self.certificate is None or fresh.certificate is None:  # listeners stay plain, or stay with TLS
            return dataclasses.replace(fresh, settings=settings, certificate=self.certificate)
        pair = {key: getattr(fresh.settings.server, key) for key in PAIR}
        settings = dataclasses.replace(settings, server=dataclasses.replace(settings.server, **pair))
        return dataclasses.replace(fresh, settings=settings)

    def waiting_for_restart(self, fresh: "LoadedSettings") -> list[str]:
        """Return the keys that differ in `fresh` and take effect after a restart only."""
        taken = effective_values(self.reloaded(fresh).settings)
        wanted = effective_values(fresh.settings)
        return [format_key(path) for path, value in wanted.items() if value != taken[path]]


def load_settings(
    *, config_file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str], with_users: bool = True
) -> LoadedSettings:
    """Return the effective settings; ConfigError says in one line what is wrong and where.

    Without `with_users` the file of users need not be there yet, nor be right.
    """
    file = config_file or find_config_file()
    entries = file_entries(file) if file else []
    entries += environment_entries(environment, [*BUILT_IN_URLS, *_upstream_names(entries)]) + flag_entries(flags)
    _check_proxies(environment)
    given = _Given(entries)
    names = dict.fromkeys([*BUILT_IN_URLS, *_upstream_names(entries)])
    default = _choose_default(given)
    settings = Settings(
        server=given.build(ServerSettings, "server"),
        storage=given.build(_storage_settings(environment), "storage"),
        upstreams={name: _build_upstream(given, name, is_default=name == default) for name in names},
        local=given.build(LocalSettings, "local"),
        log=given.build(LogSettings, "log"),
        auth=given.build(_make_auth_settings if with_users else AuthSettings, "auth"),
    )
    _check_namespaces(given, settings)
    _check_lenders(given, settings)
    certificate = given.build(load_certificate, "server", keys=PAIR)
    sources = {format_key(path): given.source(path) for path in effective_values(settings)}
    sources[format_key((UPSTREAMS, DOCKER_HUB, "default"))] = given.source((UPSTREAMS, default, "default"))
    return LoadedSettings(settings=settings, sources=sources, file=file, certificate=certificate)


def find_config_file() -> Path | None:
    """Return the first file there is: in the working directory, the user's configuration, /etc."""
    directories = (Path.cwd(), platformdirs.user_config_path("proxycache"), Path("/etc/proxycache"))
    return next((path for path in (directory / FILE_NAME for directory in directories) if path.exists()), None)


def default_directory(environment: Mapping[str, str]) -> Path:
    """Return where content lies if nobody says: as systemd says, /var/lib for root, else the user's data directory."""
    state = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state)
    return SERVICE_DIRECTORY if os.geteuid() == 0 else platformdirs.user_data_path("proxycache")


class _Given:
    """What was given, later entries winning over earlier ones, each read as its kind."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: dict[KeyPath, Entry] = {}
        self.values: dict[KeyPath, object] = {}
        for entry in entries:
            if not _is_empty_section(entry):
                self.values[entry.path] = _read(entry)
                self.entries[entry.path] = entry

    def source(self, path: KeyPath) -> str:
        return self.entries[path].source if path in self.entries else "default"

    def build(self, make: Callable[..., T], *section: str, keys: Iterable[str] | None = None, **fixed: object) -> T:
        """Return what `make` makes of the section's keys (of `keys` only); its ValueError gets its place."""
        chosen = {
            path[-1]: value
            for path, value in self.values.items()
            if path[:-1] == section and (keys is None or path[-1] in keys)
        }
        try:
            return make(**(fixed | chosen))
        except ValueError as error:
            raise self._misfit(section, str(error)) from error

    def _misfit(self, section: KeyPath, text: str) -> ConfigError:
        key, _, reason = text.partition(": ")
        entry = self.entries.get((*section, key))
        if entry is None:  # it takes two to disagree, and the one that is named was not given
            others = [other.where for path, other in self.entries.items() if path[:-1] == section]
            return ConfigError(others[-1] if others else "defaults", f"{format_key(section)}: {text}")
        return ConfigError(entry.where, reason, key=format_key(entry.path), value=_shown(entry))


def _read(entry: Entry) -> object:
    kind = find_kind(entry.path, where=entry.where, value=entry.raw)
    if kind is SECRET and not entry.source.startswith("environment "):
        raise ConfigError(
            entry.where, "a password comes from password_file or the environment", key=format_key(entry.path)
        )
    if entry.path[0] == UPSTREAMS and not UPSTREAM_NAME.fullmatch(entry.path[1]):
        raise ConfigError(entry.where, "not the host of a registry", key=format_key(entry.path[:2]))
    try:
        return kind.read(kind.from_text(entry.raw) if isinstance(entry.raw, str) and entry.is_text else entry.raw)
    except ValueError as error:
        raise ConfigError(entry.where, str(error), key=format_key(entry.path), value=_shown(entry)) from error


def _shown(entry: Entry) -> object:
    return None if find_kind(entry.path, where=entry.where, value=entry.raw) is SECRET else entry.raw


def _is_empty_section(entry: Entry) -> bool:
    is_section = entry.path in [(section,) for section in (*SECTIONS, UPSTREAMS)]
    return entry.raw == {} and (is_section or (entry.path[0] == UPSTREAMS and len(entry.path) == 2))


def _upstream_names(entries: Iterable[Entry]) -> list[str]:
    return [entry.path[1] for entry in entries if entry.path[0] == UPSTREAMS and len(entry.path) > 1]


def _choose_default(given: _Given) -> str:
    """Return the one that was named; docker.io yields when it is the default by itself only."""
    said = {path[1]: value for path, value in given.values.items() if path[0] == UPSTREAMS and path[2] == "default"}
    named = [name for name, is_default in said.items() if is_default]
    if len(named) > 1:
        where = given.entries[(UPSTREAMS, named[1], "default")].where
        raise ConfigError(where, f"{named[0]} is the default already", key=format_key((UPSTREAMS, named[1], "default")))
    if not named and DOCKER_HUB in said:
        entry = given.entries[(UPSTREAMS, DOCKER_HUB, "default")]
        raise ConfigError(entry.where, "no other upstream is the default", key=format_key(entry.path), value=entry.raw)
    return named[0] if named else DOCKER_HUB


def _check_namespaces(given: _Given, settings: Settings) -> None:
    """A name that begins like an upstream's is the upstream's: what lives here below it could not be reached."""
    for namespace in settings.local.namespaces:
        upstream = namespace.partition("/")[0]
        if upstream in settings.upstreams:
            where = next(entry.where for path, entry in given.entries.items() if path[:2] == (UPSTREAMS, upstream))
            key = format_key((UPSTREAMS, upstream))
            raise ConfigError(where, f"named like {namespace!r} of local.namespaces; rename one of them", key=key)


def _check_lenders(given: _Given, settings: Settings) -> None:
    for name in settings.local.borrow_from:
        if name not in settings.upstreams:
            known = ", ".join(settings.upstreams)
            path = ("local", "borrow_from")
            raise ConfigError(
                given.entries[path].where, f"{name!r} is no upstream; it may name {known}", key=format_key(path)
            )


def _build_upstream(given: _Given, name: str, *, is_default: bool) -> ConfiguredUpstream:
    url = BUILT_IN_URLS.get(name, f"https://{name}")
    return ConfiguredUpstream(
        client=given.build(_make_client_settings, UPSTREAMS, name, keys=CLIENT_KEYS, name=name, url=url),
        freshness=given.build(FreshnessSettings, UPSTREAMS, name, keys=FRESHNESS_KEYS),
        rules=given.build(RuleSettings, UPSTREAMS, name, keys=RULE_KEYS),
        is_default=is_default,
    )


def _make_client_settings(**chosen: Any) -> UpstreamSettings:
    settings = UpstreamSettings(**chosen)
    check_files(settings)
    return settings


def _make_auth_settings(**chosen: Any) -> AuthSettings:
    settings = AuthSettings(**chosen)
    check_users(settings)
    return settings


def _check_proxies(environment: Mapping[str, str]) -> None:
    try:
        find_egress_proxies(environment)
    except ValueError as error:
        variable, _, reason = str(error).partition(": ")
        raise ConfigError(f"environment {variable}", reason) from error


def _storage_settings(environment: Mapping[str, str]) -> Callable[..., StorageSettings]:
    def make(directory: Path | None = None, **bounds: Any) -> StorageSettings:
        return StorageSettings(directory=directory or default_directory(environment), **bounds)

    return make
