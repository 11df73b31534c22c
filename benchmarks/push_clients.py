"""How long does it take until 16 clients that push at once, each an image of its own, have all come to an end?

What is synced before an answer: see push_large. Each run pushes images of its own, so nothing is there already.
"""

from collections.abc import Iterator

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.images import make_image
from benchmarks.peers import DISTRIBUTION, DOCKER_REGISTRY, PROXYCACHE
from benchmarks.pushes import Push, as_containerd, measure_pushes
from benchmarks.question import Finding, Question, at_most, compare

_PEERS = (DOCKER_REGISTRY, DISTRIBUTION)
_CLIENTS = 16


def _ask(bench: Bench) -> Iterator[Finding]:
    layers = 2 if bench.is_quick else 8
    pushes = [
        [
            Push(
                image=make_image(bench.new_place("image"), layers=layers, layer_size=MIB),
                repository=f"local/{run}/{client}",
                push_blob=as_containerd,
            )
            for client in range(_CLIENTS)
        ]
        for run in range(bench.runs + 1)
    ]
    samples = Samples(unit="s")
    measure_pushes(bench, (PROXYCACHE, *_PEERS), pushes, samples)
    for peer in _PEERS:
        text = f"{_CLIENTS} clients push {layers} layers of 1 MiB each at once: time until all are done"
        yield compare(text, samples, peer.name, at_most(1.0))


QUESTION = Question(name="push-clients", ask=_ask)
