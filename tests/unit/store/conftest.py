"""One store per test, on the real disk, and other processes that share it."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.uploads import Uploads
from tests.fakes.clock import FakeClock

REPOSITORY = Path(__file__).parents[3]

StartProcess = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "store")
    layout.prepare()
    return layout


@pytest.fixture
def blobs(layout: Layout) -> BlobStore:
    return BlobStore(layout)


@pytest.fixture
def uploads(layout: Layout) -> Uploads:
    return Uploads(layout, FakeClock())


@pytest.fixture
async def database(layout: Layout) -> AsyncIterator[Database]:
    database = await Database.open(layout.database)
    yield database
    await database.close()


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    """Start Python code in a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", code, *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
