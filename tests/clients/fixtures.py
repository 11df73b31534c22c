"""Real registries upstream, the cache in front of it as a process of its own, and clients that pull through it."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.services import Service, docker_registry, proxycache
from tests.clients.upstream_content import REPOSITORIES, UpstreamContent, make_content

README = Path(__file__).parent.parent.parent / "README.md"
README_ADDRESS = "127.0.0.1:5000"


def readme_snippet(mark: str) -> str:
    """Return the one TOML block of the README that has `mark` in it."""
    (found,) = (block for block in re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL) if mark in block)
    return found


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> UpstreamContent:
    return make_content(tmp_path_factory.mktemp("content"))


@pytest.fixture
def upstreams(content: UpstreamContent, tmp_path: Path) -> Iterator[dict[str, Service]]:
    """Give the upstream registries by the hosts that they stand for; a test may stop them."""
    with contextlib.ExitStack() as stack:
        yield {
            host: stack.enter_context(docker_registry(content.storage / host, tmp_path / f"{host}.log"))
            for host in REPOSITORIES
        }


@pytest.fixture
def cache(upstreams: dict[str, Service], tmp_path: Path) -> Iterator[Service]:
    with proxycache(tmp_path, upstreams) as service:
        yield service


@pytest.fixture
def rounds(upstreams: dict[str, Service]) -> Iterator[Iterator[Path]]:
    """Give a loop of two rounds, each with an empty directory; before the second every upstream is stopped.

    The directories' paths are short enough for the sockets that daemons put below them.
    """

    def start_rounds(directory: Path) -> Iterator[Path]:
        yield directory / "with-upstream"
        for upstream in upstreams.values():
            upstream.stop()
        yield directory / "from-cache"

    with tempfile.TemporaryDirectory(prefix="pc-") as directory:
        for name in ("with-upstream", "from-cache"):
            Path(directory, name).mkdir()
        yield start_rounds(Path(directory))


@pytest.fixture
def registries_conf(cache: Service, tmp_path: Path) -> Path:
    """Give podman's and skopeo's settings, as the README has them, for two registries."""
    snippet = readme_snippet("[[registry.mirror]]").replace(README_ADDRESS, cache.address)
    path = tmp_path / "registries.conf"
    path.write_text("\n".join(snippet.replace("docker.io", host) for host in ("docker.io", "ghcr.io")))
    return path


@pytest.fixture
def hosts_directory(cache: Service, tmp_path: Path) -> Path:
    """Give containerd's settings, as the README has them, for each registry."""
    snippet = readme_snippet('[host."').replace(README_ADDRESS, cache.address)
    for host in REPOSITORIES:
        directory = tmp_path / "certs.d" / host
        directory.mkdir(parents=True)
        (directory / "hosts.toml").write_text(snippet.replace("ghcr.io", host))
    return tmp_path / "certs.d"
