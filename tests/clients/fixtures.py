"""Real registries upstream, caches in front of them as processes of their own, and what clients find on their disk."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.archives import docker_archive
from tests.clients.debian_image import Tree
from tests.clients.lending import Place, lending_place
from tests.clients.login import auth_section
from tests.clients.public_base import REPOSITORY, TAG, PublicBase, make_base
from tests.clients.pushing import push_image
from tests.clients.services import Service, docker_registry, proxycache
from tests.clients.upstream_content import REPOSITORIES, UpstreamContent, make_content

README = Path(__file__).parent.parent.parent / "README.md"
README_ADDRESS = "127.0.0.1:5000"


def readme_snippet(mark: str) -> str:
    """Return the one TOML block of the README that has `mark` in it."""
    (found,) = (block for block in re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL) if mark in block)
    return str(found)


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


@pytest.fixture(scope="session")
def hub(content: UpstreamContent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """Give Docker Hub alone, which no test stops."""
    log = tmp_path_factory.mktemp("hub") / "log"
    with docker_registry(content.storage / "docker.io", log) as service:
        yield {"docker.io": service}


@pytest.fixture(scope="session")
def registry(hub: dict[str, Service], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a cache to push to: without rules, so for whoever is on this machine. Each test has names of its own."""
    with proxycache(tmp_path_factory.mktemp("registry"), hub) as service:
        yield service


@pytest.fixture(scope="session")
def auth(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the section of a configuration that lets one user push, and everybody pull."""
    return auth_section(tmp_path_factory.mktemp("users"))


@pytest.fixture
def guarded_registry(hub: dict[str, Service], auth: str, tmp_path: Path) -> Iterator[Service]:
    """Give a cache to push to that has a user, who alone may; and where nobody has failed to sign in yet."""
    with proxycache(tmp_path, hub, more=auth) as service:
        yield service


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """An image as `docker save` writes it; `id` is the digest of its configuration."""

    archive: Path
    tree: Tree
    id: str
    name: str


@pytest.fixture(scope="session")
def saved_image(content: UpstreamContent, tmp_path_factory: pytest.TempPathFactory) -> SavedImage:
    archive, name = tmp_path_factory.mktemp("saved") / "image.tar", "proxycache-test/saved:1"
    image_id = docker_archive(archive, content.rootfs, name=name)
    return SavedImage(archive=archive, tree=content.rootfs.tree, id=image_id, name=name)


@pytest.fixture
def workplace() -> Iterator[Path]:
    """Give a directory whose path is short enough for the sockets that daemons put below it."""
    with tempfile.TemporaryDirectory(prefix="pc-") as directory:
        yield Path(directory)


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


@pytest.fixture(scope="session")
def public_base() -> PublicBase:
    return make_base()


@pytest.fixture(scope="session")
def base_storage(public_base: PublicBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give what a registry that has the base keeps on its disk."""
    directory = tmp_path_factory.mktemp("base")
    with docker_registry(directory / "storage", directory / "log") as registry:
        push_image(registry.url, REPOSITORY, public_base.image, TAG)
    return directory / "storage"


@pytest.fixture
def place(base_storage: Path, tmp_path: Path) -> Iterator[Place]:
    """Give a cache that has never seen the base, beside the registry that has it."""
    with lending_place(base_storage, tmp_path) as place:
        yield place
