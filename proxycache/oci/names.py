"""Repositories, tags and references (distribution-spec, "Pulling manifests"): parsed once at the edge, trusted inside.

`RepositoryName` and `Tag` are made by their parsers only, so neither can hold `..`, an upper-case twin of another
repository, or anything that means more than itself in a path or a URL.
"""

import re
from dataclasses import dataclass
from typing import NewType, TypeAlias

from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.errors import NameInvalid, TagInvalid

RepositoryName = NewType("RepositoryName", str)
Tag = NewType("Tag", str)
Reference: TypeAlias = Tag | Digest

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_REPOSITORY_LENGTH = 255
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalName:
    """Which repository of which registry; links, rows and messages use its text. An empty `registry` is this one."""

    registry: str
    repository: RepositoryName

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}" if self.registry else self.repository


def parse_repository(text: str) -> RepositoryName:
    """Return `text` as a repository's name; raises NameInvalid."""
    if len(text) > _REPOSITORY_LENGTH or _REPOSITORY.fullmatch(text) is None:
        raise NameInvalid(text)
    return RepositoryName(text)


def parse_tag(text: str) -> Tag:
    """Return `text` as a tag; raises TagInvalid."""
    if _TAG.fullmatch(text) is None:
        raise TagInvalid(text)
    return Tag(text)


def parse_reference(text: str) -> Reference:
    """Return `text` as a digest if it has a colon, which no tag has, else as a tag."""
    return parse_digest(text) if ":" in text else parse_tag(text)
