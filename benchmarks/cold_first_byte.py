"""How long after upstream's first byte does a client see the first byte of a blob that is not held?"""

from collections.abc import Iterator

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.downloads import download
from benchmarks.paced_origin import paced_origin
from benchmarks.peers import DOCKER_REGISTRY, DRAYAGE, PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_most, own_figure


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    blob = tree.add_blob(8 * MIB)
    samples = Samples(unit="ms")
    with paced_origin(tree, rate=16 * MIB) as origin:

        def measure(server: Server) -> float:
            origin.forget_figures()
            return (download(server, blob.path).first_byte_at - origin.first_byte_at) * 1000

        bench.measure_fresh((PROXYCACHE, DOCKER_REGISTRY, DRAYAGE), origin.server_port, samples, measure)
    yield own_figure("cold blob: first byte after upstream's", samples, at_most(10, "ms"))


QUESTION = Question(name="cold-first-byte", ask=_ask)
