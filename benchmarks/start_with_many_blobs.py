"""How long after its start does the cache answer when it holds 100,000 blobs?"""

import contextlib
import shutil
from collections.abc import Iterator

from benchmarks.bench import Bench, Samples
from benchmarks.downloads import download
from benchmarks.hold import hold
from benchmarks.origin import REPOSITORY, nginx_origin
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question, at_most, own_figure

_EMPTY = "with nothing held"
_SIZE = 16


def _ask(bench: Bench) -> Iterator[Finding]:
    count = 10_000 if bench.is_quick else 100_000
    tree = bench.new_tree()
    tree.directory.mkdir()
    place = bench.new_place(PROXYCACHE.name)
    samples = Samples(unit="s")
    with (
        nginx_origin(tree, bench.new_place("origin")) as nginx,
        samples.noting_absence(PROXYCACHE.name),
        contextlib.ExitStack() as cleanup,
    ):
        cleanup.callback(shutil.rmtree, place, ignore_errors=True)
        with PROXYCACHE.start(nginx.port, place) as server:
            samples.add(_EMPTY, server.started_in_seconds)
        digest, *_ = hold(place / "content", count, size=_SIZE)
        for _ in range(bench.runs):
            with PROXYCACHE.start(nginx.port, place) as server:
                samples.add(PROXYCACHE.name, server.started_in_seconds)
                download(server, f"/v2/{REPOSITORY}/blobs/{digest}")  # it really holds them: the origin does not
    yield own_figure(f"start with {count:,} blobs held", samples, at_most(1.0, "s"))


QUESTION = Question(name="start-with-many-blobs", ask=_ask)
