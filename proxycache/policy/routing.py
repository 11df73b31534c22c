"""Which registry a request means: this one, or one of its upstreams.

A request names an upstream by `ns` (containerd), by the first part of the path, or not at all (docker's
`registry-mirrors`), sometimes by two of these at once. A host that is not configured is never a route, and a local
name is never asked upstream (invariant 7); `ns` or a prefix names an upstream, and then the name is not local.
"""

from dataclasses import dataclass
from enum import Enum

from proxycache.oci.errors import NameUnknown
from proxycache.oci.names import CanonicalName, RepositoryName, parse_repository

DOCKER_HUB = "docker.io"
_HOSTS_OF_DOCKER_HUB = ("index.docker.io", "registry-1.docker.io")


class RequestStyle(Enum):
    """How a request said which registry it means; it decides how an upstream's refusal is passed on."""

    BARE = "bare"
    NAMESPACE = "namespace"
    PREFIX = "prefix"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """The registries there are. `own_hosts` are the names under which clients reach this one, ports included."""

    upstreams: frozenset[str]
    default_upstream: str
    local_namespaces: tuple[str, ...]
    own_hosts: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request leads; no `upstream` means that the repository lives here."""

    upstream: str | None
    repository: RepositoryName
    style: RequestStyle

    @property
    def name(self) -> CanonicalName:
        """The one name of this repository, however it was asked for."""
        return CanonicalName(registry=self.upstream or "", repository=self.repository)


def choose_route(table: RoutingTable, name: str, namespace: str | None, host: str = "") -> Route:
    """Return where `name` leads; raises NameInvalid, or NameUnknown for a registry that is not configured.

    `host` is the request's Host header: an `ns` that repeats it, or one of `own_hosts`, names us and so counts as none.
    """
    first, _, rest = name.partition("/")
    prefix = _registry(first) if rest else ""
    named = _registry(namespace or "")
    if named and named != host.lower() and named not in table.own_hosts:
        # BuildKit sends the host twice where a mirror's address has a path: as prefix and as ns.
        return _upstream_route(table, named, rest if prefix == named else name, RequestStyle.NAMESPACE)
    if prefix in table.upstreams or _looks_like_host(prefix):
        return _upstream_route(table, prefix, rest, RequestStyle.PREFIX)
    if _is_local(table, name):
        return Route(upstream=None, repository=parse_repository(name), style=RequestStyle.BARE)
    return _upstream_route(table, table.default_upstream, name, RequestStyle.BARE)


def canonical_pattern(table: RoutingTable, pattern: str) -> str | None:
    """Return the pattern of canonical names that `pattern` means, read as a name would be; None: of local names."""
    first, _, rest = pattern.partition("/")
    registry = _registry(first) if rest else ""
    if registry not in table.upstreams and not _looks_like_host(registry):
        if _is_local(table, pattern):
            return None
        registry, rest = table.default_upstream, pattern
    if registry == DOCKER_HUB and "/" not in rest and rest != "**":
        rest = f"library/{rest}"
    return f"{registry}/{rest}"


def _upstream_route(table: RoutingTable, upstream: str, name: str, style: RequestStyle) -> Route:
    if upstream not in table.upstreams:
        raise NameUnknown(upstream[:300], "no such registry is configured")
    repository = parse_repository(name)
    if upstream == DOCKER_HUB and "/" not in repository:
        repository = parse_repository(f"library/{repository}")
    return Route(upstream=upstream, repository=repository, style=style)


def _registry(host: str) -> str:
    lowered = host.lower()
    return DOCKER_HUB if lowered in _HOSTS_OF_DOCKER_HUB else lowered


def _looks_like_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost"


def _is_local(table: RoutingTable, name: str) -> bool:
    return any(name == namespace or name.startswith(f"{namespace}/") for namespace in table.local_namespaces)
