"""Where credentials come from: the configuration, docker's `config.json`, a credential helper.

A user name, a password and a helper that are configured for an upstream are for its own URL. Its mirrors are other
hosts: they get only what docker's `config.json` has for them.
"""

import asyncio
import base64
import binascii
import logging
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from yarl import URL

from proxycache.upstream.credentials import Credential, ReadCredential
from proxycache.upstream.errors import UpstreamUnreachable
from proxycache.upstream.settings import HELPER_NAME, Secret, UpstreamSettings

HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
HUB_KEY = "https://index.docker.io/v1/"
IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - by this name a helper says that the secret is an identity token
NOT_FOUND = b"credentials not found"
# Helpers, and files on a network, may hang: no work on the disk may stand behind them.
_THREADS = ThreadPoolExecutor(8, thread_name_prefix="credential")

logger = logging.getLogger(__name__)

T = TypeVar("T")


class AuthEntry(msgspec.Struct, kw_only=True):
    """What docker's `config.json` knows of one host."""

    auth: str = ""
    username: str = ""
    password: str = ""
    identity_token: str = msgspec.field(default="", name="identitytoken")


class DockerConfig(msgspec.Struct, kw_only=True):
    """The part of docker's `config.json` that is about credentials."""

    auths: dict[str, AuthEntry] = {}
    helper_by_host: dict[str, str] = msgspec.field(default_factory=dict, name="credHelpers")
    helper: str = msgspec.field(default="", name="credsStore")


class HelperAnswer(msgspec.Struct, kw_only=True):
    """What a credential helper prints."""

    username: str = msgspec.field(default="", name="Username")
    secret: str = msgspec.field(default="", name="Secret")


def choose_reader(settings: UpstreamSettings, url: URL) -> ReadCredential:
    """Return how to read the credential for `url`, which is the upstream's own or a mirror's."""
    is_mirror = url != URL(settings.url)

    async def read() -> Credential | None:
        if settings.docker_config:
            return await _read_docker_config(settings, url)
        if is_mirror:
            return None
        if settings.username:
            return await _read_configured(settings)
        if settings.credential_helper:
            return await _ask_helper(settings, settings.credential_helper, _server_key(url))
        return None

    return read


async def _read_configured(settings: UpstreamSettings) -> Credential:
    password = settings.password
    if settings.password_file:
        password = Secret(
            (await _read_file(settings.name, settings.password_file)).decode(errors="replace").rstrip("\r\n")
        )
    return Credential(username=settings.username, password=password)


async def _read_docker_config(settings: UpstreamSettings, url: URL) -> Credential | None:
    path = settings.docker_config
    config = _decode(settings.name, path, await _read_file(settings.name, path), DockerConfig)
    server = _server_key(url)
    helper = config.helper_by_host.get(server) or config.helper_by_host.get(_host_of(server))
    if helper is None:
        entry = _find_entry(config, server)
        if entry is not None:
            return _parse_entry(settings.name, path, entry)
        helper = config.helper
    return await _ask_helper(settings, helper, server) if helper else None


def _find_entry(config: DockerConfig, server: str) -> AuthEntry | None:
    for key, entry in config.auths.items():
        if _host_of(key) == _host_of(server) and (entry.auth or entry.username or entry.identity_token):
            return entry
    return None


def _parse_entry(upstream: str, path: str, entry: AuthEntry) -> Credential:
    username, password = entry.username, entry.password
    if entry.auth:
        try:
            username, _, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _unreadable(upstream, f"{path}: an auth that is not base64 of user:password") from None
    return Credential(
        username=username, password=Secret(password.rstrip("\0")), identity_token=Secret(entry.identity_token)
    )


async def _ask_helper(settings: UpstreamSettings, helper: str, server: str) -> Credential | None:
    """Run the helper, which has as long as an answer may take; None where it knows nobody."""
    upstream, program = settings.name, f"docker-credential-{helper}"
    if not HELPER_NAME.fullmatch(helper):
        raise _unreadable(upstream, "docker_config names a credential helper that is no program's name")
    try:
        ended = await _run_apart(_run_helper, program, server, settings.answer_within)
    except OSError as error:
        raise _unreadable(upstream, f"{program}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise _unreadable(upstream, f"{program}: no answer in time") from None
    if ended.returncode != 0:
        if NOT_FOUND in ended.stdout:
            return None
        raise _unreadable(upstream, f"{program}: exit code {ended.returncode}")
    return _parse_helper_answer(_decode(upstream, program, ended.stdout, HelperAnswer))


def _run_helper(program: str, server: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
    # In a thread, not by asyncio's subprocesses: those fork on the event loop.
    return subprocess.run(  # noqa: S603 - the name is checked, and there is no shell
        [program, "get"],
        input=server.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=seconds,
        check=False,
    )


def _parse_helper_answer(answer: HelperAnswer) -> Credential:
    secret = Secret(answer.secret)
    if answer.username == IDENTITY_TOKEN_USER:
        return Credential(username=answer.username, identity_token=secret)
    return Credential(username=answer.username, password=secret)


async def _read_file(upstream: str, path: str) -> bytes:
    try:
        return await _run_apart(lambda: Path(path).expanduser().read_bytes())
    except (OSError, RuntimeError) as error:  # RuntimeError: `~` of somebody who has no home
        raise _unreadable(upstream, f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _decode(upstream: str, origin: str, document: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(document, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _unreadable(upstream, f"{origin}: not the JSON that it should be") from None


async def _run_apart(work: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)


def _unreadable(upstream: str, why: str) -> UpstreamUnreachable:
    """Return the error that clients may see; what names our files and programs is for the log alone."""
    logger.warning("credential unreadable", extra={"upstream": upstream, "why": why})
    return UpstreamUnreachable(upstream, "its credential cannot be read")


def _server_key(url: URL) -> str:
    return HUB_KEY if url.host in HUB_HOSTS else url.host_port_subcomponent or ""


def _host_of(key: str) -> str:
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]
