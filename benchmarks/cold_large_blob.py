"""How long does one client wait for the whole of a large blob that is not held?"""

from collections.abc import Iterator

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.downloads import download
from benchmarks.origin import nginx_origin
from benchmarks.peers import DISTRIBUTION, DOCKER_REGISTRY, PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_most, compare


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    blob = tree.add_blob((128 if bench.is_quick else 512) * MIB)
    samples = Samples(unit="s")

    def measure(server: Server) -> float:
        return download(server, blob.path).seconds

    with nginx_origin(tree, bench.new_place("origin")) as nginx:
        bench.measure_fresh((PROXYCACHE, DOCKER_REGISTRY, DISTRIBUTION), nginx.port, samples, measure)
    text = f"cold {blob.size // MIB} MiB blob, one client: total time"
    yield compare(text, samples, DOCKER_REGISTRY.name, at_most(1.1))
    yield compare(text, samples, DISTRIBUTION.name, at_most(0.5))


QUESTION = Question(name="cold-large-blob", ask=_ask)
