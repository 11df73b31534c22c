"""The limit on open files is what the system allows; a low one is not a secret."""

import logging
import resource
import subprocess
import sys

import pytest

from proxycache.server.open_files import raise_open_files_limit

LIMITED = """\
import logging, resource
from proxycache.server.open_files import raise_open_files_limit
logging.basicConfig(format="%(message)s %(allowed)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))
raise_open_files_limit()
"""


def test_the_soft_limit_becomes_the_hard_one(caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 1024), before[1]))
    try:
        with caplog.at_level(logging.WARNING):
            raise_open_files_limit()
        after = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert after == (before[1], before[1])
    assert bool(caplog.records) is (before[1] < 4096)


def test_a_low_hard_limit_is_told() -> None:
    told = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=30, check=True)

    assert told.stderr == "few open files allowed 2048\n"
