"""How long a tag's digest is believed without asking its upstream again (the words are HTTP's: fresh, stale)."""

import math
import re
from dataclasses import dataclass
from enum import Enum

from proxycache.oci.names import Tag

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRule:
    """Tags in which the pattern `match` is found are fresh for `fresh_for` seconds; `math.inf`: they never change."""

    match: str
    fresh_for: float

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"tag rule {self.match!r} is not a regular expression: {error}") from error
        _require_duration("fresh_for", self.fresh_for)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessSettings:
    """How long, in seconds, an upstream's answers count: as fresh, then as stale, and those that said no."""

    fresh_for: float = 300.0
    max_stale: float = 30 * _DAY_SECONDS
    negative_for: float = 60.0
    tag_rules: tuple[TagRule, ...] = ()

    def __post_init__(self) -> None:
        for name in ("fresh_for", "max_stale", "negative_for"):
            _require_duration(name, getattr(self, name))


class TagState(Enum):
    """What a known tag is good for."""

    FRESH = "fresh"
    REVALIDATE = "revalidate"
    """Ask the upstream; if it fails, the known digest is still served."""
    EXPIRED = "expired"
    """Ask the upstream; if it fails, so does the request."""


def fresh_seconds(settings: FreshnessSettings, tag: Tag) -> float:
    """Return how long `tag` is fresh: as the first rule says that matches, else as everything is."""
    for rule in settings.tag_rules:
        if re.search(rule.match, tag):
            return rule.fresh_for
    return settings.fresh_for


def decide_tag(settings: FreshnessSettings, tag: Tag, checked_at: float, now: float, *, offline: bool) -> TagState:
    """Return what `tag` is good for, when its upstream last confirmed it at `checked_at`.

    Offline, everything held is fresh. A time that lies ahead comes from a clock that was set back: the age is not
    known, so the upstream is asked.
    """
    fresh_for = fresh_seconds(settings, tag)
    age = now - checked_at
    if offline or math.isinf(fresh_for) or 0 <= age < fresh_for:
        return TagState.FRESH
    if age <= fresh_for + settings.max_stale:
        return TagState.REVALIDATE
    return TagState.EXPIRED


def _require_duration(name: str, seconds: float) -> None:
    if not seconds >= 0:
        raise ValueError(f"{name} is {seconds}: a duration is 0 or more")
