"""What can be set for one upstream; complete in itself and checked when it is made.

What it leads to (files, and the egress proxies of the environment) is checked when a configuration is loaded, by the
functions at the end.
"""

import math
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from proxycache.policy.bandwidth import Bandwidth

HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")


class Secret:
    """A text that shows itself to nobody who does not ask for it by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"


NO_SECRET = Secret()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """One upstream registry: where it is, who we are there, how long to wait.

    Raises ValueError with one line that names the key.
    """

    name: str
    url: str
    mirrors: tuple[str, ...] = ()
    username: str = ""
    password: Secret = NO_SECRET
    password_file: str = ""
    docker_config: str = ""
    credential_helper: str = ""
    visibility: Literal["auto", "public", "private"] = "auto"
    ca_file: str = ""
    insecure: bool = False
    token_realm: str = ""
    connect_timeout: float = 5.0
    answer_within: float = 10.0
    stall_timeout: float = 30.0
    bandwidth: Bandwidth = field(default_factory=Bandwidth)

    def __post_init__(self) -> None:
        check_registry_url("url", self.url)
        for mirror in self.mirrors:
            check_registry_url("mirrors", mirror)
        self._check_credentials()
        if self.visibility not in ("auto", "public", "private"):
            raise ValueError(f"visibility: {self.visibility!r} is none of auto, public, private")
        if self.token_realm and not HOST.fullmatch(self.token_realm):
            raise ValueError(f"token_realm: {self.token_realm!r} is not a host (its name or address alone)")
        for key in ("connect_timeout", "answer_within", "stall_timeout"):
            seconds: float = getattr(self, key)
            if not 0 < seconds < math.inf:
                raise ValueError(f"{key}: must be longer than 0s and not forever")

    def _check_credentials(self) -> None:
        if self.password and self.password_file:
            raise ValueError("password_file: set together with password; choose one")
        if bool(self.username) != bool(self.password or self.password_file):
            raise ValueError("username: goes together with password_file (or a password by environment)")
        ways = [key for key in ("username", "credential_helper", "docker_config") if getattr(self, key)]
        if len(ways) > 1:
            raise ValueError(f"{ways[1]}: set together with {ways[0]}; choose one")
        if self.credential_helper and not HELPER_NAME.fullmatch(self.credential_helper):
            raise ValueError(
                f"credential_helper: {self.credential_helper!r} is not the NAME of a docker-credential-NAME program"
            )


def check_registry_url(key: str, url: str) -> None:
    """Raise ValueError, naming `key`, unless `url` can be the address of a registry."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(f"{key}: not a URL") from None
    if "@" in parts.netloc:  # the URL is not quoted: it holds a secret
        raise ValueError(f"{key}: must hold no user name or password; use username and password_file")
    if not is_address or parts.query or parts.fragment:
        raise ValueError(f"{key}: {url!r} is not http://HOST or https://HOST")


def check_files(settings: UpstreamSettings) -> None:
    """Raise ValueError, naming the key, unless every file that is set can be used."""
    for key in ("password_file", "docker_config"):
        path: str = getattr(settings, key)
        if path:
            try:
                Path(path).expanduser().open("rb").close()
            except (OSError, RuntimeError) as error:  # RuntimeError: `~` of somebody who has no home
                reason = getattr(error, "strerror", None) or error
                raise ValueError(f"{key}: must be a file that can be read: {reason}") from error
    tls_context(settings)


def tls_context(settings: UpstreamSettings) -> ssl.SSLContext | bool:
    """Return how to check certificates; raises ValueError for a `ca_file` that cannot be used."""
    if settings.insecure:
        return False
    if not settings.ca_file:
        return True
    try:
        context = ssl.create_default_context()
        context.load_verify_locations(settings.ca_file)
    except OSError as error:
        raise ValueError(f"ca_file: must be a file of PEM certificates: {error.strerror or error}") from error
    return context


def find_egress_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the URLs of the proxies for `http` and `https`; raises ValueError, naming the variable, for other kinds.

    As everywhere, a variable in small letters goes first, and an empty one means none.
    """
    proxies = {}
    for scheme in ("http", "https"):
        variables = [name for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY") if name in environment]
        address = environment[variables[0]] if variables else ""
        if address:
            url = address if "://" in address else f"http://{address}"
            if not _is_proxy(url):
                raise ValueError(f"{variables[0]}: must be http://HOST:PORT or https://HOST:PORT, or not be set")
            proxies[scheme] = url
    return proxies


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
