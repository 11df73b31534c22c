"""An upstream limited to 20 MB/s: does that hold over all workers, and how long do small things take beside bulk?

A small blob, and a small image that a real dockerd pulls into an empty store and unpacks.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.docker_daemon import Docker, dockerd
from benchmarks.downloads import WrongAnswer, download, downloads_elsewhere
from benchmarks.origin import REPOSITORY, nginx_origin
from benchmarks.peers import PROXYCACHE
from benchmarks.processes import Server
from benchmarks.question import Finding, Question, at_most, compare, own_figure

_RATE = 20_000_000
_BULK = 4
_SMALL_SIZE = 3_000_000
_LAYERS, _LAYER_SIZE = 3, 1_000_000
_IDLE = "an idle line"
_BULK_SETTLES_AFTER_SECONDS = 1.0
_IMAGE, _TAG = REPOSITORY.removeprefix("library/"), "small"
_LIMITED = replace(PROXYCACHE, environment={"PROXYCACHE_UPSTREAMS__DOCKER_IO__BANDWIDTH": "20MB/s"})


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    bulk = [tree.add_blob((16 if bench.is_quick else 48) * MIB, seed=seed) for seed in range(_BULK)]
    small = [tree.add_blob(_SMALL_SIZE, seed=100 + seed) for seed in range(4)]
    tree.add_image(_TAG, layers=_LAYERS, size=_LAYER_SIZE)
    deviation, waited = Samples(unit="%"), Samples(unit="s")
    with nginx_origin(tree, bench.new_place("origin")) as nginx, waited.noting_absence(PROXYCACHE.name):
        for _ in range(bench.runs):
            with bench.fresh(_LIMITED, nginx.port) as server:
                waited.add(_IDLE, download(server, small[0].path).seconds)
            with bench.fresh(_LIMITED, nginx.port) as server:
                began = time.monotonic()
                with downloads_elsewhere(server, [blob.path for blob in bulk]):
                    time.sleep(_BULK_SETTLES_AFTER_SECONDS)
                    waited.add(PROXYCACHE.name, statistics.median(download(server, one.path).seconds for one in small))
                size = sum(blob.size for blob in [*bulk, *small])
                deviation.add(PROXYCACHE.name, abs(size / (time.monotonic() - began) / _RATE - 1) * 100)
        pulled = _measure_pulls(bench, nginx.port, [blob.path for blob in bulk])
    yield own_figure(f"{_BULK} bulk fills and small ones at 20 MB/s: off the rate", deviation, at_most(5, "%"))
    yield compare("a 3 MB blob beside 4 bulk fills at 20 MB/s: time", waited, _IDLE, at_most(1.5))
    yield compare("docker pull of a 3 MB image beside 4 bulk fills: time", pulled, _IDLE, at_most(1.5))


def _measure_pulls(bench: Bench, upstream_port: int, bulk: Sequence[str]) -> Samples:
    samples = Samples(unit="s")
    with samples.noting_absence("dockerd"):
        for _ in range(bench.runs):
            for name, paths in ((_IDLE, ()), (PROXYCACHE.name, bulk)):
                with bench.fresh(_LIMITED, upstream_port) as server, dockerd(server) as docker:
                    samples.add(name, _pull_beside(server, docker, paths))
    return samples


def _pull_beside(server: Server, docker: Docker, bulk: Sequence[str]) -> float:
    """Return how long the pull takes, begun once the bulk fills have got past what is urgent of each."""
    with downloads_elsewhere(server, bulk) as fills:
        time.sleep(_BULK_SETTLES_AFTER_SECONDS)
        began = time.monotonic()
        docker.pull(_IMAGE, _TAG)
        seconds = time.monotonic() - began
        if any(fill.poll() is not None for fill in fills):
            raise WrongAnswer("a bulk fill was over before the pull was")
    return seconds


QUESTION = Question(name="limited-line", ask=_ask)
