"""Real registries upstream, the cache in front of it as a process of its own, and clients that pull through it."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.services import Service, docker_registry, proxycache
from tests.clients.upstream_content import REPOSITORIES, UpstreamContent, make_content


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
    """Give podman's and skopeo's settings: the cache as a mirror, other registries below their names."""
    places = {"docker.io": cache.address, "ghcr.io": f"{cache.address}/ghcr.io"}
    sections = [
        f'[[registry]]\nlocation = "{host}"\n[[registry.mirror]]\nlocation = "{place}"\ninsecure = true\n'
        for host, place in places.items()
    ]
    path = tmp_path / "registries.conf"
    path.write_text("\n".join(sections))
    return path


@pytest.fixture
def hosts_directory(cache: Service, tmp_path: Path) -> Path:
    """Give containerd's settings: the cache for each registry, and nobody else to fall back to."""
    for host in REPOSITORIES:
        directory = tmp_path / "certs.d" / host
        directory.mkdir(parents=True)
        (directory / "hosts.toml").write_text(
            f'server = "{cache.url}"\n[host."{cache.url}"]\ncapabilities = ["pull", "resolve"]\n'
        )
    return tmp_path / "certs.d"
