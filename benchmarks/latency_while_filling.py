"""How long does a small hit take while eight clients fill large blobs?"""

import statistics
import time
from collections.abc import Iterator

from benchmarks.bench import KIB, MIB, Bench, Samples
from benchmarks.downloads import downloads_elsewhere
from benchmarks.origin import nginx_origin
from benchmarks.peers import DOCKER_REGISTRY, PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_most, own_figure
from benchmarks.request_rates import keep_clients, latencies_while, visit

_CLIENTS = 8
_SETTLED_AFTER_SECONDS = 0.5  # docker-registry answers 500 while it keeps what it has just fetched


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    small = tree.add_blob(KIB)
    large = [tree.add_blob(128 * MIB, seed=seed) for seed in range(_CLIENTS)]
    samples = Samples(unit="ms")

    def measure(server: Server) -> float:
        visit(server, [small.path])
        time.sleep(_SETTLED_AFTER_SECONDS)
        with (
            keep_clients(server, small.path, count=8) as clients,
            downloads_elsewhere(server, [blob.path for blob in large]) as fills,
        ):
            seconds = latencies_while(clients, small.path, lambda: any(fill.poll() is None for fill in fills))
        return statistics.quantiles(seconds, n=100)[98] * 1000

    with nginx_origin(tree, bench.new_place("origin")) as nginx:
        bench.measure_fresh((PROXYCACHE, DOCKER_REGISTRY), nginx.port, samples, measure)
    yield own_figure(f"small hit while {_CLIENTS} clients fill: 99th percentile", samples, at_most(20, "ms"))


QUESTION = Question(name="latency-while-filling", ask=_ask)
