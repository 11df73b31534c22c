"""How fast does one client get a large blob that is held?"""

from collections.abc import Iterator

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.downloads import download
from benchmarks.origin import nginx_origin
from benchmarks.peers import DOCKER_REGISTRY, PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_least, compare


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    blob = tree.add_blob((128 if bench.is_quick else 512) * MIB)
    samples = Samples(unit="MB/s")

    def warm(server: Server) -> None:
        download(server, blob.path)

    def measure(server: Server) -> float:
        return blob.size / 1e6 / download(server, blob.path).seconds

    subjects = (PROXYCACHE, DOCKER_REGISTRY)
    with (
        nginx_origin(tree, bench.new_place("origin")) as nginx,
        bench.all_warm(subjects, nginx.port, samples, warm) as servers,
    ):
        bench.measure_warm([*servers, nginx], samples, measure)
    text = f"held {blob.size // MIB} MiB blob, one client: bytes/s"
    yield compare(text, samples, DOCKER_REGISTRY.name, at_least(1.0))
    yield compare(text, samples, "nginx", at_least(0.75))


QUESTION = Question(name="held-large-blob", ask=_ask)
