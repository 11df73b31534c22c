"""Real container clients pull through the cache from real registries."""

import pytest

pytest.register_assert_rewrite("tests.clients.checks")
