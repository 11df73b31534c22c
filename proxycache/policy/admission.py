"""Which repositories of an upstream this cache serves at all.

A repository is judged by the name that it has upstream, never by how a request wrote it, so one rule holds for bare
names, `ns` and path prefixes alike.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from proxycache.oci.names import RepositoryName

_ANY_PARTS = "**"
_PATTERN = re.compile(r"[a-z0-9._:*?-]+(?:/[a-z0-9._*?-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """Which repositories are admitted: those that a pattern of `allow` matches and none of `deny`.

    In a pattern `*` is any text within one part of a name, `?` is one character, and `**` is any number of whole parts.
    Raises ValueError with one line that names the key.
    """

    allow: tuple[str, ...] = ("**",)
    deny: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("allow", "deny"):
            for pattern in getattr(self, key):
                require_pattern(key, pattern)


def find_refusal(settings: RuleSettings, upstream: str, repository: RepositoryName) -> str:
    """Return the rule that refuses `repository`, as people write it, or "" if it is admitted; `deny` wins."""
    for pattern in settings.deny:
        if _matches(pattern, upstream, repository):
            return f'deny "{pattern}"'
    return "" if any(_matches(pattern, upstream, repository) for pattern in settings.allow) else "allow"


def _matches(pattern: str, upstream: str, repository: RepositoryName) -> bool:
    """Tell whether `pattern` means `repository`; one that begins with the upstream's name is of canonical names."""
    return matches_name(pattern, f"{upstream}/{repository}" if pattern.startswith(f"{upstream}/") else repository)


def matches_name(pattern: str, name: str) -> bool:
    """Tell whether `pattern` means all of `name`.

    Names come from anybody, so the work grows with the lengths only: no backtracking over parts.
    """
    parts, wanted = name.split("/"), pattern.split("/")
    if wanted[-1] == _ANY_PARTS:
        wanted.append("*")  # what lies below a name is not that name itself
    ends = {0}  # how many parts what was read of the pattern may have matched
    for each in wanted:
        if each == _ANY_PARTS:
            ends = set(range(min(ends), len(parts) + 1))
        else:
            ends = {end + 1 for end in ends if end < len(parts) and fnmatchcase(parts[end], each)}
        if not ends:
            return False
    return len(parts) in ends


def require_pattern(key: str, pattern: str) -> None:
    """Raise ValueError, with one line that names `key`, if `pattern` is none."""
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f'{key}: {pattern!r} is no pattern of repositories such as "library/*" or "org/**"')
    if any(_ANY_PARTS in part and part != _ANY_PARTS for part in pattern.split("/")):
        raise ValueError(f"{key}: {pattern!r} has a ** that is only a piece of a part; it stands for whole ones")
