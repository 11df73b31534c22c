"""Everything that can be set, composed of what each room takes; rooms receive their own part, never the whole."""

import ipaddress
import math
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from proxycache.observe.settings import LogSettings
from proxycache.policy.admission import RuleSettings
from proxycache.policy.freshness import FreshnessSettings
from proxycache.registry.settings import AuthSettings
from proxycache.store.settings import StorageSettings
from proxycache.upstream.settings import UpstreamSettings

ADDRESS = re.compile(r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<plain>[A-Za-z0-9._-]+)):(?P<port>\d{1,5})")
NAMESPACE = re.compile(r"[a-z0-9]+(?:(?:_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")

DOCKER_HUB = "docker.io"
BORROW_MODES = ("off", "lazy", "adopt")
BUILT_IN_URLS = {DOCKER_HUB: "https://registry-1.docker.io"} | {
    name: f"https://{name}"
    for name in ("ghcr.io", "quay.io", "gcr.io", "registry.k8s.io", "public.ecr.aws", "mcr.microsoft.com")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it: a loopback address, or "localhost"."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address that `HOST:PORT` or `[IPV6]:PORT` means; ValueError if it is none."""
    found = ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError('not an address such as "127.0.0.1:5000", "0.0.0.0:5000" or "[::]:5000"')
    return Address(host=found["bracketed"] or found["plain"], port=int(found["port"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The processes and how clients reach them. Raises ValueError with one line that names the key."""

    listen: tuple[Address, ...] = (Address(host="127.0.0.1", port=5000),)
    workers: int = 0
    drain: float = 8.0
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    offline: bool = False
    tls_certificate: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        if not self.listen:
            raise ValueError("listen: names no address")
        if self.workers < 0:
            raise ValueError("workers: must be 0 (one per usable CPU) or more")
        if math.isinf(self.drain):
            raise ValueError("drain: must end")
        if self.public_url:
            _check_public_url(self.public_url)
        for proxy in self.trusted_proxies:
            _check_network(proxy)

    @property
    def is_loopback_only(self) -> bool:
        """Whether nobody from elsewhere reaches us. A name may come to mean other addresses, so only one counts."""
        return all(address.is_loopback for address in self.listen)


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"trusted_proxies: {text!r} is neither an address nor a network such as 10.0.0.0/8") from None


def _check_public_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or "@" in url or "?" in url or "#" in url:
        raise ValueError("public_url: not http://HOST or https://HOST")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """The repositories that live here. Raises ValueError with one line that names the key."""

    namespaces: tuple[str, ...] = ("local",)
    borrow_from: tuple[str, ...] = (DOCKER_HUB,)
    borrow: str = "lazy"
    bases: tuple[str, ...] = ()
    sparse: bool = False
    max_manifest_size: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        for namespace in self.namespaces:
            if not NAMESPACE.fullmatch(namespace):
                raise ValueError(f"namespaces: {namespace!r} is not the beginning of a repository name")
            if namespace.partition("/")[0] == "localhost":
                raise ValueError(f"namespaces: {namespace!r} begins with what clients take for the host of a registry")
        if self.borrow not in BORROW_MODES:
            raise ValueError(f"borrow: {self.borrow!r} is none of {', '.join(BORROW_MODES)}")
        if self.max_manifest_size < 1:
            raise ValueError("max_manifest_size: must be 1B or more")

    @property
    def lenders(self) -> frozenset[str]:
        """The upstreams whose public blobs a push may borrow."""
        return frozenset() if self.borrow == "off" else frozenset(self.borrow_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredUpstream:
    """One upstream: how to talk to it, how long to believe it, what of it is served, and whether bare names mean it."""

    client: UpstreamSettings
    freshness: FreshnessSettings
    rules: RuleSettings = field(default_factory=RuleSettings)
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration; exactly one upstream is the default."""

    server: ServerSettings = field(default_factory=ServerSettings)
    storage: StorageSettings
    upstreams: dict[str, ConfiguredUpstream]
    local: LocalSettings = field(default_factory=LocalSettings)
    log: LogSettings = field(default_factory=LogSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)

    @property
    def default_upstream(self) -> str:
        """Return the name of the upstream that bare names mean."""
        return next(name for name, upstream in self.upstreams.items() if upstream.is_default)
