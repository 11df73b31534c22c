"""The programs that these tests need: found, or the test skips and says which one is missing.

With PROXYCACHE_REQUIRE_CLIENTS=1, as in CI, a missing one fails the test instead.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

# Where `.ci/run` puts what it builds: the current dockerd and containerd, crane, oras, the conformance suite.
TOOLS = Path(os.environ.get("PROXYCACHE_TOOLS", "/opt/proxycache-tools/bin"))
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CURRENT_PATH = f"{TOOLS}:{SYSTEM_PATH}"


def missing(reason: str) -> NoReturn:
    """Skip this test, or fail it where nothing may be skipped."""
    if os.environ.get("PROXYCACHE_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{reason}, and PROXYCACHE_REQUIRE_CLIENTS=1 allows no skips")
    pytest.skip(reason)


def find_tool(name: str, *, path: str = SYSTEM_PATH) -> str:
    """Return where a program is; skip by name if it is nowhere."""
    found = shutil.which(name, path=path)
    if found is None:
        missing(f"{name} is not installed (looked in {path})")
    return found


def find_current_tool(name: str) -> str:
    """Return a program that was built into TOOLS; skip by name if it was not."""
    return find_tool(name, path=str(TOOLS))


def require_root() -> None:
    if os.geteuid() != 0:
        missing("a container daemon of one's own needs root")


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    given: str = "",
) -> str:
    """Run a program to its end and return what it printed; fail with what it said if it failed."""
    done = _run(command, environment or {}, directory, given)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")[-3000:]
        pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")
    return done.stdout.decode()


def run_refused(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> str:
    """Run a program that must fail, and return what it said."""
    done = _run(command, environment or {}, directory, "")
    if done.returncode == 0:
        pytest.fail(f"{' '.join(map(str, command))} was not refused:\n{done.stdout.decode(errors='replace')[-3000:]}")
    return done.stderr.decode(errors="replace")


def _run(
    command: Sequence[str | Path], environment: Mapping[str, str], directory: Path | None, given: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PATH": CURRENT_PATH, **environment},
        cwd=directory,
        input=given.encode(),
        capture_output=True,
        timeout=120,
        check=False,
    )
