import os
import subprocess
import sys
import tempfile

import pytest

from proxycache.observe.metrics_directory import VARIABLE, metrics_directory

# prometheus_client chooses how to count when it is first imported: hence processes of their own.
COUNT_IN_TWO_PROCESSES = """
import asyncio, os
from pathlib import Path
from proxycache.observe.metrics_directory import forget_worker, metrics_directory

def count(requests):
    from proxycache.observe.metrics import Metrics
    metrics = Metrics()
    async def work():
        for _ in range(requests):
            metrics.requests.begin()
            metrics.requests.count("blob", "GET", 200, 1, "hit")
        metrics.requests.begin()
        return await metrics.render()
    return asyncio.run(work()).decode()

with metrics_directory(otherwise_in=Path("/")):
    child = os.fork()
    if child == 0:
        count(2)
        os._exit(0)
    os.waitpid(child, 0)
    if {forget}:
        forget_worker(child)
    print(count(3))
"""


@pytest.mark.parametrize(("forget", "in_flight"), [(False, "2.0"), (True, "1.0")])
def test_counts_of_all_processes_add_up_and_gauges_of_the_dead_can_be_forgotten(forget, in_flight):
    script = COUNT_IN_TWO_PROCESSES.replace("{forget}", str(forget))

    lines = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    assert 'proxycache_hits_total{kind="blob"} 5.0' in lines
    assert f"proxycache_in_flight_requests {in_flight}" in lines


def test_the_directory_is_there_for_one_run(tmp_path):
    with metrics_directory(otherwise_in=tmp_path) as directory:
        assert os.environ[VARIABLE] == str(directory)
        assert list(directory.iterdir()) == []

    assert VARIABLE not in os.environ
    assert not directory.exists()


def test_without_a_temporary_place_it_lies_where_the_content_does(tmp_path, monkeypatch):
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)

    with metrics_directory(otherwise_in=tmp_path) as directory:
        assert directory.parent == tmp_path
