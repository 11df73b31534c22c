"""Tests with real clients run when they are asked for; in any other run they are skipped by name."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("markexpr"):
        return
    reason = "needs root, real clients and registries: `make test-clients` runs it"
    for item in items:
        if item.get_closest_marker("clients"):
            item.add_marker(pytest.mark.skip(reason=reason))
