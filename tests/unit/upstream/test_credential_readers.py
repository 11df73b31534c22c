"""Credentials from the configuration, docker's config.json and credential helpers."""

import asyncio
import base64
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from yarl import URL

from proxycache.upstream.credential_readers import choose_reader
from proxycache.upstream.credentials import Credential
from proxycache.upstream.errors import UpstreamUnreachable
from proxycache.upstream.settings import Secret, UpstreamSettings

Why = Callable[[], object]
UNREADABLE = "^corp: its credential cannot be read$"
URL_OF_CORP = "https://corp.example:5000"


async def read(url: str = URL_OF_CORP, *, asked: str = "", **changes: object) -> Credential | None:
    settings = UpstreamSettings(**{"name": "corp", "url": url, **changes})
    return await choose_reader(settings, URL(asked or url))()


def write_config(directory: Path, **content: object) -> str:
    path = directory / "config.json"
    path.write_text(json.dumps(content))
    return str(path)


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def why(caplog: pytest.LogCaptureFixture) -> Why:
    """Return what the log said last of why a credential cannot be read."""
    return lambda: vars(caplog.records[-1])["why"]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program docker-credential-fake in the PATH: `script` is what it does."""
    program = tmp_path / "docker-credential-fake"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return program


def write_script(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


async def test_nothing_configured() -> None:
    assert await read() is None


async def test_a_password_and_a_password_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter 2 \n")

    for changes in ({"password": Secret("hunter 2 ")}, {"password_file": str(tmp_path / "password")}):
        assert await read(username="ann", **changes) == Credential(username="ann", password=Secret("hunter 2 "))


async def test_a_password_is_not_for_mirrors(tmp_path: Path) -> None:
    config = write_config(tmp_path, auths={"mirror.example": {"auth": encode("bob:b")}})

    assert await read(asked="https://mirror.example", username="ann", password=Secret("x")) is None
    assert await read(asked="https://mirror.example", credential_helper="fake") is None
    mirrors = await read(asked="https://mirror.example", docker_config=config)
    assert mirrors == Credential(username="bob", password=Secret("b"))


@pytest.mark.parametrize("key", ["corp.example:5000", "https://corp.example:5000", "https://corp.example:5000/v1/"])
async def test_docker_config(tmp_path: Path, key: str) -> None:
    config = write_config(tmp_path, auths={"other.example": {"auth": "x"}, key: {"auth": encode("ann:a:b")}}, other=1)

    assert await read(docker_config=config) == Credential(username="ann", password=Secret("a:b"))


@pytest.mark.parametrize("url", ["https://registry-1.docker.io", "https://index.docker.io", "https://docker.io"])
async def test_docker_hub_has_a_key_of_its_own(tmp_path: Path, url: str) -> None:
    config = write_config(tmp_path, auths={"https://index.docker.io/v1/": {"auth": encode("ann:x")}})

    assert await read(url, docker_config=config) == Credential(username="ann", password=Secret("x"))


async def test_docker_config_with_an_identity_token(tmp_path: Path) -> None:
    entry = {"auth": encode("00000000-0000-0000-0000-000000000000:"), "identitytoken": "refresh"}
    config = write_config(tmp_path, auths={"corp.example:5000": entry})

    credential = await read(docker_config=config)

    assert credential is not None
    assert credential.identity_token == Secret("refresh")


@pytest.mark.parametrize(
    "content", [{}, {"auths": {"corp.example:5000": {}}}, {"auths": {"corp.example": {"auth": "x"}}}]
)
async def test_docker_config_without_the_host(tmp_path: Path, content: dict[str, object]) -> None:
    assert await read(docker_config=write_config(tmp_path, **content)) is None


@pytest.mark.parametrize("text", ["", "[]", '{"auths": 1}', '{"auths": {"corp.example:5000": {"auth": "?"}}}'])
async def test_docker_config_that_cannot_be_read(tmp_path: Path, why: Why, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(UpstreamUnreachable, match=UNREADABLE):
        await read(docker_config=str(tmp_path / "config.json"))
    assert f"{tmp_path}/config.json: " in why()


async def test_only_the_log_says_which_file_cannot_be_read(tmp_path: Path, why: Why) -> None:
    for changes in ({"docker_config": f"{tmp_path}/x"}, {"username": "ann", "password_file": f"{tmp_path}/x"}):
        with pytest.raises(UpstreamUnreachable, match=UNREADABLE):
            await read(**changes)
        assert why() == f"{tmp_path}/x: No such file or directory"


async def test_a_helper_is_told_the_server(helper: Path) -> None:
    write_script(
        helper, 'read server; printf \'{"ServerURL": "x", "Username": "AWS", "Secret": "%s-%s"}\' "$1" "$server"'
    )

    assert await read(credential_helper="fake") == Credential(username="AWS", password=Secret("get-corp.example:5000"))
    hub = await read("https://registry-1.docker.io", credential_helper="fake")
    assert hub == Credential(username="AWS", password=Secret("get-https://index.docker.io/v1/"))


@pytest.mark.parametrize("content", [{"credHelpers": {"corp.example:5000": "fake"}}, {"credsStore": "fake"}])
async def test_docker_config_names_a_helper(tmp_path: Path, helper: Path, content: dict[str, object]) -> None:
    write_script(helper, 'echo \'{"Username": "<token>", "Secret": "refresh"}\'')

    credential = await read(docker_config=write_config(tmp_path, **content))

    assert credential == Credential(username="<token>", identity_token=Secret("refresh"))


async def test_a_helper_that_knows_nobody(helper: Path) -> None:
    write_script(helper, "echo 'credentials not found in native keychain'; exit 1")

    assert await read(credential_helper="fake") is None


@pytest.mark.parametrize("script", ["echo secret >&2; exit 3", "echo secret", "exit 0"])
async def test_a_helper_that_fails(helper: Path, why: Why, script: str) -> None:
    write_script(helper, script)

    with pytest.raises(UpstreamUnreachable, match=UNREADABLE):
        await read(credential_helper="fake")

    assert why().startswith("docker-credential-fake: ")
    assert "secret" not in why()


async def test_a_helper_that_is_not_installed(why: Why) -> None:
    with pytest.raises(UpstreamUnreachable, match=UNREADABLE):
        await read(credential_helper="nowhere")

    assert why() == "docker-credential-nowhere: No such file or directory"


async def test_a_helper_that_hangs_is_ended(helper: Path, why: Why) -> None:
    write_script(helper, "exec sleep 60")

    with pytest.raises(UpstreamUnreachable, match=UNREADABLE):
        await read(credential_helper="fake", answer_within=0.1)

    assert why() == "docker-credential-fake: no answer in time"


async def test_helpers_that_hang_leave_the_threads_of_the_disk_alone(helper: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    write_script(helper, f"cat {tmp_path}/fifo")
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        asking = group.create_task(read(credential_helper="fake"))
        await asyncio.sleep(0)
        await asyncio.to_thread((tmp_path / "fifo").write_text, '{"Username": "ann", "Secret": "x"}')

    assert asking.result() == Credential(username="ann", password=Secret("x"))
