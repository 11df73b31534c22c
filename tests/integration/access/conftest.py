"""Caches with users and rules, before an upstream that has something public and something private."""

from pathlib import Path

import pytest

from proxycache.registry.settings import AuthSettings
from tests.fakes.auth import TokenAuth
from tests.integration.access.signing_in import HUB, INNER, OPEN, PASSWORDS, PRIVATE, PUBLIC, RULES, SECRET, write_users
from tests.integration.harness import Cache


@pytest.fixture(autouse=True)
def content(upstream) -> None:
    upstream.auth = TokenAuth(username="hub", password="hub's secret", private={PRIVATE})
    for name, held in ((PUBLIC, OPEN), (INNER, OPEN), (PRIVATE, SECRET)):
        upstream.add_image(name, held, tag="1")


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    write_users(path, PASSWORDS)
    return path


@pytest.fixture
def auth(users_file: Path) -> AuthSettings:
    return AuthSettings(users_file=str(users_file), access=RULES)


@pytest.fixture
async def cache(start, auth) -> Cache:
    return await start(**HUB, auth=auth)


@pytest.fixture
async def workers(start, auth) -> tuple[Cache, Cache]:
    return await start(**HUB, auth=auth), await start(**HUB, auth=auth)
