"""The kinds of values that keys take: how each is read from TOML or from a text, and written back.

A reader raises ValueError with the reason alone; who calls it knows the key and the place.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxycache.config.model import parse_address
from proxycache.config.units import (
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)
from proxycache.policy.bandwidth import ALL_HOURS, Bandwidth, RateRule
from proxycache.policy.freshness import TagRule
from proxycache.policy.permissions import AccessRule, Action
from proxycache.upstream.settings import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of value."""

    read: Callable[[object], object]
    """From what TOML holds to what the settings hold."""
    plain: Callable[[Any], object] = lambda value: value
    """From what the settings hold to what TOML holds."""
    from_text: Callable[[str], object] = lambda text: text
    """From an environment variable or a flag to what TOML would hold."""


def _read_text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("must be a text in quotes")
    return raw


def _read_texts(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise ValueError("must be a list of texts in quotes")
    return tuple(raw)


def _read_boolean(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError("must be true or false")
    return raw


def _read_count(raw: object) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise ValueError("must be a whole number")
    return raw


def _read_addresses(raw: object) -> object:
    return tuple(parse_address(text) for text in _read_texts([raw] if isinstance(raw, str) else raw))


def _read_tag_rules(raw: object) -> tuple[TagRule, ...]:
    if not isinstance(raw, list):
        raise ValueError('must be a list such as [{ match = "^v\\\\d+$", fresh_for = "forever" }]')
    return tuple(_read_tag_rule(rule) for rule in raw)


def _read_tag_rule(raw: object) -> TagRule:
    if not isinstance(raw, dict) or raw.keys() != {"match", "fresh_for"}:
        raise ValueError("each rule has exactly the keys match and fresh_for")
    return TagRule(match=_read_text(raw["match"]), fresh_for=parse_duration(_read_text(raw["fresh_for"])))


def _read_access_rules(raw: object) -> tuple[AccessRule, ...]:
    if not isinstance(raw, list):
        raise ValueError('must be a list such as [{ who = "alice", repositories = ["local/**"], actions = ["pull"] }]')
    return tuple(_read_access_rule(rule) for rule in raw)


def _read_access_rule(raw: object) -> AccessRule:
    if not isinstance(raw, dict) or not {"who"} <= raw.keys() <= {"who", "repositories", "actions"}:
        raise ValueError("each rule has the keys who, repositories and actions, and no others")
    chosen: dict[str, Any] = {"who": _read_text(raw["who"])}
    if "repositories" in raw:
        chosen["repositories"] = _read_texts(raw["repositories"])
    if "actions" in raw:
        chosen["actions"] = tuple(_read_action(text) for text in _read_texts(raw["actions"]))
    return AccessRule(**chosen)


def _read_action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        known = ", ".join(action.value for action in Action)
        raise ValueError(f"{text!r} is no action; there are {known}") from None


def _plain_access_rule(rule: AccessRule) -> object:
    actions = [action.value for action in rule.actions]
    return {"who": rule.who, "repositories": list(rule.repositories), "actions": actions}


def _read_bandwidth(raw: object) -> Bandwidth:
    if isinstance(raw, str):
        rate = parse_rate(raw)
        return Bandwidth(rules=(RateRule(rate=rate),) if rate else ())
    if not isinstance(raw, list):
        raise ValueError('must be a rate such as "20MB/s", or a list such as [{ hours = "8-18", rate = "20MB/s" }]')
    return Bandwidth(rules=tuple(_read_rate_rule(rule) for rule in raw))


def _read_rate_rule(raw: object) -> RateRule:
    if not isinstance(raw, dict) or raw.keys() != {"hours", "rate"}:
        raise ValueError("each rule has exactly the keys hours and rate")
    hours = re.fullmatch(r"(\d{1,2})-(\d{1,2})", _read_text(raw["hours"]))
    if hours is None:
        raise ValueError(f'hours: {raw["hours"]!r} is not like "8-18" or "22-6"')
    return RateRule(hours=(int(hours[1]), int(hours[2])), rate=parse_rate(_read_text(raw["rate"])))


def _plain_bandwidth(bandwidth: Bandwidth) -> object:
    if not bandwidth.rules:
        return "0"
    if len(bandwidth.rules) == 1 and bandwidth.rules[0].hours == ALL_HOURS:
        return format_rate(bandwidth.rules[0].rate)
    return [
        {"hours": f"{first}-{end}", "rate": format_rate(rule.rate)}
        for rule in bandwidth.rules
        for first, end in [rule.hours]
    ]


def _read_directory(raw: object) -> Path | None:
    text = _read_text(raw)
    try:
        return Path(text).expanduser().absolute() if text else None
    except RuntimeError as error:  # `~` of somebody who has no home
        raise ValueError(str(error)) from error


def _boolean_from_text(text: str) -> object:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text)


def _count_from_text(text: str) -> object:
    return int(text) if text.strip().removeprefix("-").isdecimal() else text


def _list_from_text(text: str) -> object:
    written = _toml_from_text(text)  # an address in brackets is no list
    return written if isinstance(written, list) else [item.strip() for item in text.split(",") if item.strip()]


def _bandwidth_from_text(text: str) -> object:
    return _toml_from_text(text) if text.lstrip().startswith("[") else text


def _toml_from_text(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


TEXT = Kind(read=_read_text)
SECRET = Kind(read=lambda raw: Secret(_read_text(raw)), plain=lambda secret: "***" if secret else "")
DIRECTORY = Kind(read=_read_directory, plain=str)
"""Read as None where the text is empty: the default."""
BOOLEAN = Kind(read=_read_boolean, from_text=_boolean_from_text)
COUNT = Kind(read=_read_count, from_text=_count_from_text)
SIZE = Kind(read=lambda raw: parse_size(_read_text(raw)), plain=format_size)
DURATION = Kind(read=lambda raw: parse_duration(_read_text(raw)), plain=format_duration)
TEXTS = Kind(read=_read_texts, plain=list, from_text=_list_from_text)
ADDRESSES = Kind(
    read=_read_addresses, plain=lambda addresses: [str(address) for address in addresses], from_text=_list_from_text
)
BANDWIDTH = Kind(read=_read_bandwidth, plain=_plain_bandwidth, from_text=_bandwidth_from_text)
TAG_RULES = Kind(
    read=_read_tag_rules,
    plain=lambda rules: [{"match": rule.match, "fresh_for": format_duration(rule.fresh_for)} for rule in rules],
    from_text=_toml_from_text,
)
ACCESS_RULES = Kind(
    read=_read_access_rules, plain=lambda rules: [_plain_access_rule(rule) for rule in rules], from_text=_toml_from_text
)
