"""What does a worker keep in memory for 200 slow clients on 200 different blobs that are not held?

Once with an upstream that is slow as well, so that all fills last, and once with one that sends as fast as it can.
"""

import statistics
from collections.abc import Iterator

from benchmarks.bench import KIB, MIB, Bench, Samples
from benchmarks.downloads import download_slowly
from benchmarks.origin import Tree, nginx_origin
from benchmarks.peers import PROXYCACHE
from benchmarks.processes import peak_resident_bytes, resident_bytes, worker_pids
from benchmarks.question import Finding, Question, at_most, own_figure

_CLIENTS = 200
_CLIENT_RATE = 250 * KIB
_SLOW_UPSTREAM_RATE = 400 * KIB
_NO_LIMIT = 0
_TEXT = f"largest worker, {_CLIENTS} slow clients, {_CLIENTS} cold blobs"


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    paths = [tree.add_blob((2 if bench.is_quick else 8) * MIB, seed=seed).path for seed in range(_CLIENTS)]
    slow, fast, growth = Samples(unit="MiB"), Samples(unit="MiB"), Samples(unit="x")
    per_second = _measure(bench, tree, paths, _SLOW_UPSTREAM_RATE, slow)
    _measure(bench, tree, paths, _NO_LIMIT, fast)
    if third := len(per_second) // 3:
        growth.add(PROXYCACHE.name, statistics.median(per_second[-third:]) / statistics.median(per_second[:third]))
    yield own_figure(f"{_TEXT}: peak memory", slow, at_most(120, "MiB"))
    yield own_figure(f"{_TEXT}: last third of the time / first", growth, at_most(1.1))
    yield own_figure(f"{_TEXT}, fast upstream: peak memory", fast, at_most(120, "MiB"))


def _measure(bench: Bench, tree: Tree, paths: list[str], upstream_rate: int, peak: Samples) -> list[float]:
    """Add the peak of the largest worker to `peak`; return what the largest worker held in each second."""
    per_second: list[float] = []
    with (
        nginx_origin(tree, bench.new_place("origin"), rate_per_connection=upstream_rate) as nginx,
        peak.noting_absence(PROXYCACHE.name),
        bench.fresh(PROXYCACHE, nginx.port) as server,
    ):
        workers = worker_pids(server.pid)
        seconds = download_slowly(server, paths, rate=_CLIENT_RATE)
        per_second.extend(max(resident_bytes(pid) for pid in workers) / MIB for _ in seconds)
        peak.add(PROXYCACHE.name, max(peak_resident_bytes(pid) for pid in workers) / MIB)
    return per_second


QUESTION = Question(name="memory-of-slow-clients", ask=_ask)
