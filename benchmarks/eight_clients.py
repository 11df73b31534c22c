"""How fast are eight clients served together that ask at once for one blob that is not held?"""

from collections.abc import Iterator

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.downloads import download_together
from benchmarks.origin import nginx_origin
from benchmarks.peers import DOCKER_REGISTRY, PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_least, compare

_CLIENTS = 8


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    blob = tree.add_blob((64 if bench.is_quick else 256) * MIB)
    samples = Samples(unit="MB/s")

    def measure(server: Server) -> float:
        downloads = download_together(server, [blob.path] * _CLIENTS)
        return _CLIENTS * blob.size / 1e6 / max(one.seconds for one in downloads)

    with nginx_origin(tree, bench.new_place("origin")) as nginx:
        bench.measure_fresh((PROXYCACHE, DOCKER_REGISTRY), nginx.port, samples, measure)
    text = f"{_CLIENTS} clients on one cold {blob.size // MIB} MiB blob: bytes/s in all"
    yield compare(text, samples, DOCKER_REGISTRY.name, at_least(1.5))


QUESTION = Question(name="eight-clients", ask=_ask)
