"""Real container clients pull through the cache from real registries, and push to its local repositories."""

import pytest

pytest.register_assert_rewrite("tests.clients.checks", "tests.clients.pulling")
