"""What is common to the tests with real clients."""

from pathlib import Path

import pytest

from tests.clients.fixtures import (
    auth,
    base_storage,
    cache,
    content,
    guarded_registry,
    hosts_directory,
    hub,
    place,
    public_base,
    registries_conf,
    registry,
    rounds,
    saved_image,
    upstreams,
    workplace,
)

__all__ = [
    "auth",
    "base_storage",
    "cache",
    "content",
    "guarded_registry",
    "hosts_directory",
    "hub",
    "place",
    "public_base",
    "registries_conf",
    "registry",
    "rounds",
    "saved_image",
    "upstreams",
    "workplace",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, and give daemons the time that they take to start."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.clients)
            item.add_marker(pytest.mark.timeout(300))
