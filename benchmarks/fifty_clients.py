"""Fifty clients on one blob that is not held, behind a thin line: what goes over the line, and who waits how long?"""

from collections.abc import Iterator

from benchmarks.bench import MIB, Bench, Samples
from benchmarks.downloads import download, download_together
from benchmarks.paced_origin import paced_origin
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question, at_most, compare, own_figure

_CLIENTS = 50
_ALONE = "one alone"


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    blob = tree.add_blob((16 if bench.is_quick else 64) * MIB)
    fetched, waited = Samples(unit="x size"), Samples(unit="s")
    with paced_origin(tree, rate=50_000_000) as origin, waited.noting_absence(PROXYCACHE.name):
        for _ in range(bench.runs):
            with bench.fresh(PROXYCACHE, origin.server_port) as server:
                waited.add(_ALONE, download(server, blob.path).seconds)
            origin.forget_figures()
            with bench.fresh(PROXYCACHE, origin.server_port) as server:
                downloads = download_together(server, [blob.path] * _CLIENTS)
                waited.add(PROXYCACHE.name, max(one.seconds for one in downloads))
            fetched.add(PROXYCACHE.name, origin.body_bytes / blob.size)
    text = f"{_CLIENTS} clients on one cold {blob.size // MIB} MiB blob behind 50 MB/s"
    yield own_figure(f"{text}: upstream bytes", fetched, at_most(1.0))
    yield compare(f"{text}: slowest client", waited, _ALONE, at_most(1.3))


QUESTION = Question(name="fifty-clients", ask=_ask)
