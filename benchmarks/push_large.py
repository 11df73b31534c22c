"""How long does it take to push an image of one large layer, and what does a worker keep in memory meanwhile?

docker-registry 2.8 and distribution 3.1 sync the file of a layer at the end of a request and at its commit, and the
files that link it. The folders that name the layer they do not sync; 3.1 syncs those of links. Here the file, its
folder and a commit of the database with `synchronous=FULL` are on the disk before the answer: no promise is weaker.
"""

from collections.abc import Iterator

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.images import Image, make_image
from benchmarks.peers import DISTRIBUTION, DOCKER_REGISTRY, PROXYCACHE, Subject
from benchmarks.processes import Server, peak_resident_bytes, worker_pids
from benchmarks.pushes import Push, PushBlob, as_containerd, as_docker, push_together
from benchmarks.question import Finding, Question, at_most, compare, own_figure

_PEERS = (DOCKER_REGISTRY, DISTRIBUTION)
_WAYS: tuple[tuple[str, PushBlob], ...] = (("docker", as_docker), ("containerd", as_containerd))


def _ask(bench: Bench) -> Iterator[Finding]:
    large, small = (32, 8) if bench.is_quick else (512, 64)
    peak, small_peak, growth = Samples(unit="MiB"), Samples(unit="MiB"), Samples(unit="x")
    image = make_image(bench.new_place("large"), layers=1, layer_size=large * MIB)
    for client, push_blob in _WAYS:
        samples = _measure(bench, (PROXYCACHE, *_PEERS), image, push_blob, peak)
        for peer in _PEERS:
            yield compare(f"push one layer of {large} MiB as {client}: time", samples, peer.name, at_most(1.0))
    image = make_image(bench.new_place("small"), layers=1, layer_size=small * MIB)
    for _, push_blob in _WAYS:
        _measure(bench, (PROXYCACHE,), image, push_blob, small_peak)
    yield own_figure("the same: peak memory of the largest worker", peak, at_most(120, "MiB"))
    with_large, with_small = peak.median(PROXYCACHE.name), small_peak.median(PROXYCACHE.name)
    if with_large is not None and with_small is not None:
        growth.add(PROXYCACHE.name, with_large / with_small)
    yield own_figure(f"the same / with a layer of {small} MiB", growth, at_most(1.1))


def _measure(bench: Bench, subjects: tuple[Subject, ...], image: Image, push_blob: PushBlob, peak: Samples) -> Samples:
    """Return the seconds; add to `peak` what the largest process had."""
    samples = Samples(unit="s")

    def measure(server: Server) -> float:
        seconds = push_together(server, [Push(image=image, repository="local/bench", push_blob=push_blob)])
        peak.add(server.name, max(peak_resident_bytes(pid) for pid in worker_pids(server.pid)) / MIB)
        return seconds

    bench.measure_fresh(subjects, None, samples, measure)
    return samples


QUESTION = Question(name="push-large", ask=_ask)
