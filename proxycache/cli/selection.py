"""What `purge` is asked to drop: `NAME`, `NAME:TAG` or `NAME@DIGEST`, and what patterns of names and tags mean."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from proxycache.cli.opened_store import routing_table, split_image
from proxycache.config.errors import ConfigError
from proxycache.config.model import Settings
from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.errors import Unsupported
from proxycache.oci.names import parse_tag
from proxycache.policy.admission import matches_name, require_pattern
from proxycache.policy.routing import canonical_pattern, choose_route

_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """`name` is a canonical name or a pattern of such; `tag` one tag or a pattern of tags, "" for all there is."""

    name: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def names_many(self) -> bool:
        """Whether `name` is a pattern."""
        return _WILD.search(self.name) is not None

    @property
    def is_pattern(self) -> bool:
        """Whether it means whatever there is of a kind, and not one thing."""
        return self.names_many or _WILD.search(self.tag) is not None

    def find_names(self, held: Iterable[str]) -> list[str]:
        """Return the repositories that are meant, of those that are `held` if that is a question of a pattern."""
        return [name for name in held if matches_name(self.name, name)] if self.names_many else [self.name]

    def names_tag(self, tag: str) -> bool:
        """Tell whether `tag` is meant."""
        return matches_name(self.tag, tag)

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"


def parse_selection(settings: Settings, text: str) -> Selection:
    """Return what `text` means.

    Raises NameInvalid, NameUnknown, TagInvalid, DigestInvalid or ConfigError for what is none, and Unsupported for a
    local name.
    """
    image, at, digest = text.partition("@")
    name, tag = (image, None) if at else split_image(image)
    if tag is not None:
        parse_tag(_WILD.sub("x", tag))
    return Selection(name=_parse_name(settings, name), tag=tag or "", digest=parse_digest(digest) if at else None)


def _parse_name(settings: Settings, name: str) -> str:
    table = routing_table(settings)
    if _WILD.search(name) is None:
        route = choose_route(table, name, None)
        canonical = None if route.upstream is None else str(route.name)
    else:
        canonical = canonical_pattern(table, name)
        try:
            require_pattern("command line", canonical or name)
        except ValueError as error:
            raise ConfigError("", str(error)) from error
    if canonical is None:
        raise Unsupported(f"{name}: lives here and is not cached, so there is nothing to purge")
    return canonical
