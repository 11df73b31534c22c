"""How many small blobs that are held can 32 connections get a second?"""

from collections.abc import Iterator

from benchmarks.bench import KIB, Bench, Samples
from benchmarks.downloads import download
from benchmarks.origin import nginx_origin
from benchmarks.peers import DOCKER_REGISTRY, DRAYAGE, PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_least, compare
from benchmarks.request_rates import requests_per_second


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    blobs = [tree.add_blob(64 * KIB, seed=seed) for seed in range(64 if bench.is_quick else 256)]
    paths = [blob.path for blob in blobs]
    samples = Samples(unit="requests/s")

    def warm(server: Server) -> None:
        for path in paths:
            download(server, path)

    def measure(server: Server) -> float:
        return requests_per_second(server, paths, connections=32, seconds=1 if bench.is_quick else 2)

    subjects = (PROXYCACHE, DOCKER_REGISTRY, DRAYAGE)
    with (
        nginx_origin(tree, bench.new_place("origin")) as nginx,
        bench.all_warm(subjects, nginx.port, samples, warm) as servers,
    ):
        bench.measure_warm([*servers, nginx], samples, measure)
    text = "held 64 KiB blobs, 32 connections: requests/s"
    yield compare(text, samples, DOCKER_REGISTRY.name, at_least(15))
    yield compare(text, samples, DRAYAGE.name, at_least(6))


QUESTION = Question(name="held-small-blobs", ask=_ask)
