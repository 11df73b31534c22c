"""podman pushes to a local repository, without and with a login, and one whose storage is empty pulls it."""

from pathlib import Path

import pytest

from tests.clients.checks import check_tree
from tests.clients.login import PASSWORD, USER, WRONG_PASSWORD
from tests.clients.podman import Podman
from tests.clients.pulling import pull_image
from tests.clients.tools import require_root

INSECURE = "--tls-verify=false"


@pytest.fixture
def podman(saved_image, workplace: Path) -> Podman:
    """Give one that has the image."""
    podman = _new(workplace / "first")
    podman("load", "-i", saved_image.archive)
    return podman


def _new(directory: Path) -> Podman:
    require_root()
    directory.mkdir()
    settings = directory / "registries.conf"
    settings.touch()
    return Podman(directory, settings)


def test_what_one_podman_pushes_another_pulls(registry, saved_image, podman, workplace: Path) -> None:
    name = f"{registry.address}/local/podman:1"

    podman("push", INSECURE, saved_image.name, name)

    other = _new(workplace / "other")
    other("pull", INSECURE, name)
    check_tree(other.export(name), saved_image.tree)
    assert pull_image(registry.url, "local/podman", "1").config == saved_image.id
    assert other("inspect", "--format", "sha256:{{.Id}}", "--type", "image", name).strip() == saved_image.id


def test_a_user_pushes_by_podman_and_everybody_pulls(guarded_registry, saved_image, podman, workplace: Path) -> None:
    address = guarded_registry.address
    name = f"{address}/local/podman:1"

    refused = podman.refused("push", INSECURE, saved_image.name, name)
    assert "denied" in refused or "authentication required" in refused
    assert "invalid username/password" in podman.refused("login", INSECURE, "-u", USER, "-p", WRONG_PASSWORD, address)
    podman("login", INSECURE, "-u", USER, "-p", PASSWORD, address)
    podman("push", INSECURE, saved_image.name, name)

    other = _new(workplace / "other")
    other("pull", INSECURE, name)
    check_tree(other.export(name), saved_image.tree)
