"""How much slower are hits while the cache evicts, beside the same cache at rest, and beside one that fills as much?

Another client fills at an even pace, slow enough that its fills take little of the machine. What they drive out is
small, so that eviction is many times what a cache sees: each fill takes the place of 64 blobs. The cache at rest and
the one that evicts are the same; the one that only fills has a bound that it never reaches. What the workers compute
for a hit, the fills among it, tells more than the rate does where others use the machine as well; but only where hits
are small and many, since eviction costs by the blob, however many bytes are served meanwhile.
"""

import contextlib
import itertools
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.bench import KIB, MIB, Bench, Samples
from benchmarks.downloads import WrongAnswer, download
from benchmarks.hold import hold
from benchmarks.origin import Blob, nginx_origin
from benchmarks.peers import PROXYCACHE, Place, Subject
from benchmarks.processes import Server, cpu_seconds, worker_pids
from benchmarks.question import Finding, Question, at_least, at_most, compare, own_figure
from benchmarks.request_rates import requests_per_second

_AT_REST, _FILLING = "at rest", "filling"
_OLD_SIZE, _OLD_COUNT = 16 * KIB, 2_048
_FILL_SIZE, _FILLS_A_SECOND = MIB, 4
_EVICTED = "proxycache_evicted_blobs_total "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hits:
    """What is held and asked for: `measure` gives the rate, over about `seconds`."""

    text: str
    is_small: bool
    unit: str
    blobs: Sequence[Blob]
    measure: Callable[[Server, Sequence[Blob], int], float]


def _ask(bench: Bench) -> Iterator[Finding]:
    tree = bench.new_tree()
    seconds = 2 if bench.is_quick else 4
    fills = [tree.add_blob(_FILL_SIZE, seed=seed) for seed in range((seconds + 2) * _FILLS_A_SECOND)]
    small = [tree.add_blob(64 * KIB, seed=seed) for seed in range(128)]
    large = tree.add_blob(64 * MIB)
    every = (
        _Hits(
            text="held 64 KiB blobs, 32 connections",
            is_small=True,
            unit="requests/s",
            blobs=small,
            measure=_request_rate,
        ),
        _Hits(text="held 64 MiB blob, one client", is_small=False, unit="MB/s", blobs=[large], measure=_byte_rate),
    )
    with nginx_origin(tree, bench.new_place("origin")) as nginx:
        for hits in every:
            yield from _ask_one(bench, nginx.port, hits, fills, seconds)


def _ask_one(bench: Bench, upstream_port: int, hits: _Hits, fills: Sequence[Blob], seconds: int) -> Iterator[Finding]:
    rates, costs, evicted = Samples(unit=hits.unit), Samples(unit="s of CPU a million"), Samples(unit="blobs/s")
    size = sum(blob.size for blob in hits.blobs)
    bounded, unbounded = _cache(size + _OLD_COUNT * _OLD_SIZE), _cache(0)

    def measure(name: str, server: Server) -> None:
        workers = worker_pids(server.pid)
        before, began = sum(map(cpu_seconds, workers)), time.monotonic()
        rate = hits.measure(server, hits.blobs, seconds)
        rates.add(name, rate)
        computed = sum(map(cpu_seconds, workers)) - before
        costs.add(name, computed / (rate * (time.monotonic() - began)) * 1e6)

    for _ in range(bench.runs):
        with (
            rates.noting_absence(PROXYCACHE.name),
            bench.fresh(bounded, upstream_port) as evicting,
            bench.fresh(unbounded, upstream_port) as filling,
        ):
            for server in (evicting, filling):  # so that room was made for the first time as well
                for blob in (*hits.blobs, fills[0]):
                    download(server, blob.path)
            measure(_AT_REST, evicting)
            with _fills(filling, fills[1:]):
                measure(_FILLING, filling)
            before, began = _count_evicted(evicting), time.monotonic()
            with _fills(evicting, fills[1:]):
                measure(PROXYCACHE.name, evicting)
            evicted.add(PROXYCACHE.name, (_count_evicted(evicting) - before) / (time.monotonic() - began))
    yield compare(f"{hits.text}, while evicting: rate", rates, _AT_REST, at_least(0.9))
    yield compare(f"{hits.text}, while evicting: rate", rates, _FILLING, at_least(0.95))
    if hits.is_small:
        yield compare(f"{hits.text}, while evicting: CPU of all", costs, _AT_REST, at_most(1.1))
        yield compare(f"{hits.text}, while evicting: CPU of all", costs, _FILLING, at_most(1.05))
    yield own_figure(f"{hits.text}: what is evicted meanwhile", evicted, at_least(20, "blobs/s"))


def _cache(max_size: int) -> Subject:
    """Return proxycache with old blobs in it."""

    def command(place: Place) -> list[str]:
        hold(place.directory / "content", _OLD_COUNT, size=_OLD_SIZE)
        return PROXYCACHE.command(place)

    return replace(PROXYCACHE, command=command, environment={"PROXYCACHE_STORAGE__MAX_SIZE": str(max_size)})


def _request_rate(server: Server, blobs: Sequence[Blob], seconds: int) -> float:
    return requests_per_second(server, [blob.path for blob in blobs], connections=32, seconds=seconds)


def _byte_rate(server: Server, blobs: Sequence[Blob], seconds: int) -> float:
    began = time.monotonic()
    received = 0
    for blob in itertools.cycle(blobs):
        download(server, blob.path)
        received += blob.size
        if time.monotonic() - began >= seconds:
            break
    return received / 1e6 / (time.monotonic() - began)


@contextlib.contextmanager
def _fills(server: Server, blobs: Sequence[Blob]) -> Iterator[None]:
    """Ask for one blob after another at an even pace, in a process beside what the block does."""
    command = ["curl", "--silent", "--fail", "--rate", f"{_FILLS_A_SECOND}/s"]
    for blob in blobs:
        command += ["--output", "/dev/null", f"http://127.0.0.1:{server.port}{blob.path}"]
    client = subprocess.Popen(command)
    try:
        yield
        if client.poll():
            raise WrongAnswer(f"{server.name}: curl ended with {client.returncode}")
    finally:
        client.kill()
        client.wait()


def _count_evicted(server: Server) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/-/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(_EVICTED)).removeprefix(_EVICTED))


QUESTION = Question(name="evicting-hits", ask=_ask)
