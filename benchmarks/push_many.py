"""How long does it take to push an image of 200 small layers, five at a time as docker does?

What is synced before an answer: see push_large. Each run pushes an image of its own, so nothing is there already.
"""

from collections.abc import Iterator

from benchmarks.bench import KIB, Bench, Samples
from benchmarks.images import make_image
from benchmarks.peers import DISTRIBUTION, DOCKER_REGISTRY, PROXYCACHE
from benchmarks.pushes import Push, PushBlob, as_containerd, as_docker, measure_pushes
from benchmarks.question import Finding, Question, at_most, compare

_PEERS = (DOCKER_REGISTRY, DISTRIBUTION)
_AT_ONCE = 5
_WAYS: tuple[tuple[str, PushBlob], ...] = (("docker", as_docker), ("containerd", as_containerd))


def _ask(bench: Bench) -> Iterator[Finding]:
    layers = 40 if bench.is_quick else 200
    for client, push_blob in _WAYS:
        pushes = [
            [
                Push(
                    image=make_image(bench.new_place(f"{client}-image"), layers=layers, layer_size=64 * KIB),
                    repository=f"local/{client}{run}",
                    push_blob=push_blob,
                    at_once=_AT_ONCE,
                )
            ]
            for run in range(bench.runs + 1)
        ]
        samples = Samples(unit="s")
        measure_pushes(bench, (PROXYCACHE, *_PEERS), pushes, samples)
        for peer in _PEERS:
            text = f"push {layers} layers of 64 KiB, {_AT_ONCE} at a time, as {client}: time"
            yield compare(text, samples, peer.name, at_most(1.0))


QUESTION = Question(name="push-many", ask=_ask)
