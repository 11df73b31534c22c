"""dockerd, with each of its image stores, pushes to a local repository; another one, which is empty, pulls it."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.clients.checks import check_tree
from tests.clients.debian_image import Tree
from tests.clients.docker_api import HUB_ADDRESS, DockerApi, DockerRefused, sign_in_for
from tests.clients.dockerd import classic_dockerd, current_dockerd
from tests.clients.fixtures import SavedImage
from tests.clients.login import PASSWORD, USER, WRONG_PASSWORD
from tests.clients.pulling import pull_image
from tests.clients.upstream_content import HUB

Start: TypeAlias = Callable[..., AbstractContextManager[DockerApi]]

with_each_store = pytest.mark.parametrize("start", [classic_dockerd, current_dockerd], ids=["classic", "current"])


@pytest.fixture(scope="module")
def start_once(saved_image: SavedImage) -> Iterator[Callable[[Start], DockerApi]]:
    """Start a daemon that has the image, and give the same one to all tests that want one of its kind."""
    started: dict[Start, DockerApi] = {}

    def give(start: Start) -> DockerApi:
        if start not in started:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
            started[start] = stack.enter_context(start(directory))
            started[start].load(saved_image.archive)
        return started[start]

    with contextlib.ExitStack() as stack:
        yield give


def check_pulled(docker: DockerApi, name: str, tree: Tree) -> None:
    """Pull into an empty store, and compare what a container has."""
    events = docker.pull(name, "1")
    assert not [event for event in events if event.get("status") == "Already exists"]
    check_tree(docker.export(f"{name}:1"), tree)


@with_each_store
def test_what_one_dockerd_pushes_another_pulls(
    registry, saved_image, start_once, workplace: Path, start: Start
) -> None:
    docker, repository = start_once(start), f"local/{start.__name__}"
    name = f"{registry.address}/{repository}"

    docker.tag(saved_image.name, name, "1")
    docker.push(name, "1")
    docker.push(name, "1")

    assert pull_image(registry.url, repository, "1").config == saved_image.id
    with start(workplace) as other:
        check_pulled(other, name, saved_image.tree)
        assert other.inspect(f"{name}:1")["Id"] == docker.inspect(f"{name}:1")["Id"]


@with_each_store
def test_a_user_pushes_and_everybody_pulls(
    guarded_registry, saved_image, start_once, workplace: Path, start: Start
) -> None:
    docker, address, repository = start_once(start), guarded_registry.address, f"local/{start.__name__}"
    name, alice = f"{address}/{repository}", sign_in_for(address, USER, PASSWORD)

    docker.tag(saved_image.name, name, "1")
    for refused in (None, sign_in_for(address, USER, WRONG_PASSWORD)):
        with pytest.raises(DockerRefused, match=r"denied|insufficient_scope|wrong user name or password"):
            docker.push(name, "1", refused)
    with pytest.raises(DockerRefused, match=r"wrong user name or password|unauthorized"):
        docker.login(sign_in_for(address, USER, WRONG_PASSWORD))
    docker.login(alice)
    docker.push(name, "1", alice)

    assert pull_image(guarded_registry.url, repository, "1").config == saved_image.id
    with start(workplace) as other:
        check_pulled(other, name, saved_image.tree)


@with_each_store
def test_a_push_to_an_upstreams_name_says_where_to_push(registry, saved_image, start_once, start: Start) -> None:
    docker, name = start_once(start), f"{registry.address}/app"

    docker.tag(saved_image.name, name, "1")

    with pytest.raises(DockerRefused, match="push to a name below local/"):
        docker.push(name, "1")


@with_each_store
def test_the_mirror_does_not_mind_credentials_for_docker_hub(
    content, guarded_registry, workplace: Path, start: Start
) -> None:
    image, hub = HUB.removeprefix("library/"), sign_in_for(HUB_ADDRESS, "somebody", "of Docker Hub")

    with start(workplace, "--registry-mirror", guarded_registry.url) as docker:
        docker.pull(image, "plain", hub)
        check_tree(docker.export(f"{image}:plain"), content.rootfs.tree)
