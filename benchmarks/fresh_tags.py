"""How many manifests by fresh tags can 32 connections get a second?"""

from collections.abc import Iterator

from benchmarks.bench import KIB, Bench, Samples
from benchmarks.origin import nginx_origin
from benchmarks.peers import DOCKER_REGISTRY, DRAYAGE, PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_least, compare
from benchmarks.request_rates import requests_per_second, visit


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    layer = tree.add_blob(4 * KIB)
    paths = [tree.add_manifest(f"v{number}", layer) for number in range(16 if bench.is_quick else 128)]
    samples = Samples(unit="requests/s")

    def warm(server: Server) -> None:
        visit(server, paths)

    def measure(server: Server) -> float:
        return requests_per_second(server, paths, connections=32, seconds=1 if bench.is_quick else 2)

    subjects = (PROXYCACHE, DOCKER_REGISTRY, DRAYAGE)
    with (
        nginx_origin(tree, bench.new_place("origin")) as nginx,
        bench.all_warm(subjects, nginx.port, samples, warm) as servers,
    ):
        bench.measure_warm(servers, samples, measure)
    text = "manifest by fresh tag, 32 connections: requests/s"
    yield compare(text, samples, DOCKER_REGISTRY.name, at_least(50))
    yield compare(text, samples, DRAYAGE.name, at_least(0.8))


QUESTION = Question(name="fresh-tags", ask=_ask)
