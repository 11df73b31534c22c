"""Every key there is. A key appears here when what it does works; its default is the one of its room's settings."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from proxycache.config.errors import ConfigError, nearest
from proxycache.config.kinds import (
    ACCESS_RULES,
    ADDRESSES,
    BANDWIDTH,
    BOOLEAN,
    COUNT,
    DIRECTORY,
    DURATION,
    SECRET,
    SIZE,
    TAG_RULES,
    TEXT,
    TEXTS,
    Kind,
)
from proxycache.config.model import ConfiguredUpstream, Settings

KeyPath = tuple[str, ...]
"""`("server", "listen")` or `("upstreams", "docker.io", "url")`."""

UPSTREAMS = "upstreams"
SECTIONS: Mapping[str, Mapping[str, Kind]] = {
    "server": {
        "listen": ADDRESSES,
        "workers": COUNT,
        "drain": DURATION,
        "public_url": TEXT,
        "trusted_proxies": TEXTS,
        "offline": BOOLEAN,
        "tls_certificate": TEXT,
        "tls_key": TEXT,
    },
    "storage": {"directory": DIRECTORY, "max_size": SIZE, "min_free": SIZE},
    "local": {
        "namespaces": TEXTS,
        "borrow_from": TEXTS,
        "borrow": TEXT,
        "bases": TEXTS,
        "sparse": BOOLEAN,
        "max_manifest_size": SIZE,
    },
    "log": {"format": TEXT, "level": TEXT},
    "auth": {"users_file": TEXT, "access": ACCESS_RULES},
}
CLIENT_KEYS: Mapping[str, Kind] = {
    "url": TEXT,
    "mirrors": TEXTS,
    "username": TEXT,
    "password": SECRET,
    "password_file": TEXT,
    "docker_config": TEXT,
    "credential_helper": TEXT,
    "visibility": TEXT,
    "ca_file": TEXT,
    "insecure": BOOLEAN,
    "token_realm": TEXT,
    "connect_timeout": DURATION,
    "answer_within": DURATION,
    "stall_timeout": DURATION,
    "bandwidth": BANDWIDTH,
}
FRESHNESS_KEYS: Mapping[str, Kind] = {
    "fresh_for": DURATION,
    "max_stale": DURATION,
    "negative_for": DURATION,
    "tag_rules": TAG_RULES,
}
RULE_KEYS: Mapping[str, Kind] = {"allow": TEXTS, "deny": TEXTS}
UPSTREAM_KEYS: Mapping[str, Kind] = {"default": BOOLEAN, **CLIENT_KEYS, **FRESHNESS_KEYS, **RULE_KEYS}

SECRET_NAME = re.compile("pass|secret|token|auth")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def format_key(path: KeyPath) -> str:
    """Return the key as one would write it in TOML: `upstreams."docker.io".url`."""
    return ".".join(part if BARE_KEY.fullmatch(part) else json.dumps(part) for part in path)


def find_kind(path: KeyPath, *, where: str, value: object) -> Kind:
    """Return the kind of the key at `path`; ConfigError, naming the nearest key, if there is none."""
    if path[0] == UPSTREAMS and len(path) == 3:
        known = UPSTREAM_KEYS
        if isinstance(value, dict) and path[2] not in known:
            hint = f"a name with dots is written in quotes: [upstreams.{json.dumps('.'.join(path[1:]))}]"
            raise ConfigError(where, hint, key=format_key(path))
    else:
        known = SECTIONS.get(path[0], {}) if len(path) == 2 else {}
    if path[-1] in known:
        return known[path[-1]]
    is_safe = not isinstance(value, dict) and not SECRET_NAME.search(path[-1].lower())
    raise ConfigError(
        where, "unknown key", key=format_key(path), value=value if is_safe else None, nearest=_nearest_key(path, known)
    )


def _nearest_key(path: KeyPath, known: Iterable[str]) -> str:
    word = nearest(path[-1], known)
    if word:
        return format_key((*path[:-1], word))
    if len(path) > 1 and nearest(path[0], [UPSTREAMS]) and path[0] != UPSTREAMS:
        return format_key((UPSTREAMS, *path[1:]))
    dotted = [f"{section}.{key}" for section, kinds in SECTIONS.items() for key in kinds]
    candidates = {name: name for name in (*SECTIONS, UPSTREAMS, *dotted)} | {
        name.split(".")[1]: name for name in dotted
    }
    return candidates.get(nearest(format_key(path), candidates), "")


def effective_values(settings: Settings) -> dict[KeyPath, object]:
    """Return each key with its value as TOML holds it, secrets masked."""
    return dict(_section_values(settings)) | {
        path: value for name, upstream in settings.upstreams.items() for path, value in _upstream_values(name, upstream)
    }


def _section_values(settings: Settings) -> Iterator[tuple[KeyPath, object]]:
    for section, kinds in SECTIONS.items():
        part = getattr(settings, section)
        for key, kind in kinds.items():
            yield (section, key), kind.plain(getattr(part, key))


def _upstream_values(name: str, upstream: ConfiguredUpstream) -> Iterator[tuple[KeyPath, object]]:
    yield (UPSTREAMS, name, "default"), upstream.is_default
    parts = ((upstream.client, CLIENT_KEYS), (upstream.freshness, FRESHNESS_KEYS), (upstream.rules, RULE_KEYS))
    for part, kinds in parts:
        for key, kind in kinds.items():
            yield (UPSTREAMS, name, key), kind.plain(getattr(part, key))
