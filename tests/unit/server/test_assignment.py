import asyncio
import os
from collections.abc import Iterator

import pytest

from proxycache.config.load import LoadedSettings, load_settings
from proxycache.server.assignment import READY, Assignment


@pytest.fixture
def pipes() -> Iterator[dict[str, int]]:
    """The four ends of the lifeline and the inbox; those that a test closes are taken out."""
    lifeline, supervisor = os.pipe()
    inbox, worker = os.pipe()
    ends = {"lifeline": lifeline, "supervisor": supervisor, "inbox": inbox, "worker": worker}
    yield ends
    for end in ends.values():
        os.close(end)


@pytest.fixture
def assignment(pipes, tmp_path) -> Assignment:
    def load() -> LoadedSettings:
        (tmp_path / "c.toml").touch()
        return load_settings(config_file=tmp_path / "c.toml", environment={}, flags={})

    return Assignment(loaded=load(), sockets=[], load_again=load, lifeline=pipes["lifeline"], inbox=pipes["worker"])


async def test_the_end_of_the_supervisor_is_an_order_to_drain(assignment, pipes):
    drained = asyncio.Event()
    assignment.obey(drain=drained.set, reload=lambda: None)

    os.close(pipes.pop("supervisor"))

    await drained.wait()


def test_the_supervisor_learns_who_is_ready(assignment, pipes):
    assignment.report_ready()

    assert os.read(pipes["inbox"], 10) == bytes([READY])


def test_being_ready_after_the_supervisors_end_is_no_error(assignment, pipes):
    os.close(pipes.pop("inbox"))

    assignment.report_ready()
