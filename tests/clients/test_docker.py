"""dockerd with its classic image store and the current one with containerd's: pulled, and the containers compared.

The daemon runs in mount and process namespaces of its own: its /etc/docker is the test's, and nothing of it can
outlive the test.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.checks import check_tree
from tests.clients.docker_api import DockerApi
from tests.clients.services import running
from tests.clients.tools import (
    CURRENT_PATH,
    SYSTEM_PATH,
    find_current_tool,
    find_tool,
    missing,
    require_root,
)
from tests.clients.upstream_content import HUB, REPOSITORIES

_IN_NAMESPACES = 'mkdir -p /etc/docker && mount --bind "$0" /etc/docker && exec "$@"'


@contextlib.contextmanager
def dockerd(directory: Path, options: list[str], *, program: str, path: str) -> Iterator[DockerApi]:
    require_root()
    settings, socket = directory / "etc", directory / "sock"
    settings.mkdir(exist_ok=True)
    unshare = [find_tool("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*unshare, "sh", "-c", _IN_NAMESPACES, settings, program]
    command += ["--data-root", directory / "data", "--exec-root", directory / "exec", "--pidfile", directory / "pid"]
    command += ["-H", f"unix://{socket}", "--iptables=false", "--bridge=none", *options]
    docker = DockerApi(socket)
    with running(command, address="", log=directory / "log", is_ready=docker.answers, environment={"PATH": path}):
        yield docker


@contextlib.contextmanager
def classic_dockerd(directory: Path, *options: str) -> Iterator[DockerApi]:
    for needed in ("containerd", "runc"):
        find_tool(needed)
    with dockerd(directory, list(options), program=find_tool("dockerd"), path=SYSTEM_PATH) as docker:
        if docker.uses_containerd_store():
            missing("the installed dockerd has no classic image store any more")
        yield docker


@contextlib.contextmanager
def current_dockerd(directory: Path, *options: str) -> Iterator[DockerApi]:
    for needed in ("containerd", "containerd-shim-runc-v2"):
        find_current_tool(needed)
    find_tool("runc")
    program, ours = find_current_tool("dockerd"), ["--ip6tables=false", *options]
    with dockerd(directory, ours, program=program, path=CURRENT_PATH) as docker:
        assert docker.uses_containerd_store()
        yield docker


@pytest.mark.parametrize("tag", ["multi", "plain"])
@pytest.mark.parametrize("start", [classic_dockerd, current_dockerd])
def test_dockerd_pulls_through_its_registry_mirror(content, cache, rounds, start, tag: str) -> None:
    image = HUB.removeprefix("library/")

    for directory in rounds:
        with start(directory, "--registry-mirror", cache.url) as docker:
            docker.pull(image, tag)
            check_tree(docker.export(f"{image}:{tag}"), content.rootfs.tree)


@pytest.mark.parametrize("host", ["ghcr.io", "quay.io"])
def test_the_current_dockerd_pulls_other_registries_names_by_hosts_toml(
    content, rounds, hosts_directory: Path, host: str
) -> None:
    image = f"{host}/{REPOSITORIES[host]}"

    for directory in rounds:
        (directory / "etc").mkdir()
        (directory / "etc" / "certs.d").symlink_to(hosts_directory)
        with current_dockerd(directory) as docker:
            docker.pull(image, "multi")
            check_tree(docker.export(f"{image}:multi"), content.rootfs.tree)
