"""An upstream limited to 20 MB/s: does that hold over all workers, and how long does a small blob take beside bulk?"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.downloads import download, downloads_elsewhere
from benchmarks.origin import nginx_origin
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question, at_most, compare, own_figure

_RATE = 20_000_000
_BULK = 4
_SMALL_SIZE = 3_000_000
_IDLE = "an idle line"
_BULK_SETTLES_AFTER_SECONDS = 1.0
_LIMITED = replace(PROXYCACHE, environment={"PROXYCACHE_UPSTREAMS__DOCKER_IO__BANDWIDTH": "20MB/s"})


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    bulk = [tree.add_blob((16 if bench.is_quick else 48) * MIB, seed=seed) for seed in range(_BULK)]
    small = [tree.add_blob(_SMALL_SIZE, seed=100 + seed) for seed in range(4)]
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
    yield own_figure(f"{_BULK} bulk fills and small ones at 20 MB/s: off the rate", deviation, at_most(5, "%"))
    yield compare("a 3 MB blob beside 4 bulk fills at 20 MB/s: time", waited, _IDLE, at_most(1.5))


QUESTION = Question(name="limited-line", ask=_ask)
