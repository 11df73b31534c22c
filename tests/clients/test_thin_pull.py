"""An image that borrows its base is pulled into empty stores: with the base in the cache, and from its origin."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.clients.checks import check_tree
from tests.clients.containerd import containerd
from tests.clients.dockerd import Dockerd, classic_dockerd, current_dockerd
from tests.clients.lending import Place, lending_place
from tests.clients.podman import Podman
from tests.clients.public_base import MOST_BYTES, PublicBase
from tests.clients.thin_pushers import by_docker
from tests.clients.tools import SYSTEM_PATH, require_root

Start = Callable[..., AbstractContextManager[Dockerd]]
Pull = Callable[[Place, PublicBase, Path], None]


def _by_docker(start: Start) -> Pull:
    def pull(place: Place, base: PublicBase, directory: Path) -> None:
        with start(directory) as docker:
            events = docker.pull(place.app, "latest")
            assert not [event for event in events if event.get("status") == "Already exists"]
            check_tree(docker.export(f"{place.app}:latest"), base.tree)

    return pull


def _by_ctr(place: Place, base: PublicBase, directory: Path) -> None:
    (directory / "no-hosts").mkdir()
    with containerd(directory, directory / "no-hosts", path=SYSTEM_PATH) as ctr:
        ctr.pull(f"{place.app}:latest", "--plain-http", "--snapshotter", "native")
        read = {digest: ctr.read(digest, directory) for digest in base.layers}
    assert read == {layer.digest: layer.body for layer in base.image.layers}


def _by_podman(place: Place, base: PublicBase, directory: Path) -> None:
    require_root()
    (directory / "registries.conf").touch()
    podman = Podman(directory, directory / "registries.conf")
    podman("pull", "--tls-verify=false", place.app)
    check_tree(podman.export(place.app), base.tree)


PULLERS = {
    "classic docker": _by_docker(classic_dockerd),
    "current docker": _by_docker(current_dockerd),
    "ctr": _by_ctr,
    "podman": _by_podman,
}


@pytest.fixture(scope="module")
def pushed(public_base: PublicBase, base_storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a place where docker has pushed an image that borrows."""
    with (
        lending_place(base_storage, tmp_path_factory.mktemp("pushed")) as place,
        tempfile.TemporaryDirectory(prefix="pc-") as directory,
    ):
        by_docker(classic_dockerd, is_mirrored=True)(place, public_base, Path(directory))
        yield place


@pytest.mark.parametrize("is_held", [True, False], ids=["from the cache", "from its origin"])
@pytest.mark.parametrize("pull", PULLERS.values(), ids=PULLERS)
def test_what_borrows_is_pulled_complete(
    public_base: PublicBase, pushed: Place, workplace: Path, pull: Pull, *, is_held: bool
) -> None:
    pushed.fill_base()
    if not is_held:
        pushed.purge_base()
    assert all(pushed.holds(layer) == is_held for layer in public_base.layers)

    pull(pushed, public_base, workplace)

    assert all(map(pushed.holds, public_base.layers))
    assert pushed.owned_bytes < MOST_BYTES
