"""Which share of the bytes asked for does eviction by worth save, beside LRU and beside docker-registry's time to live?

A simulation of the policies alone, on a generated trace: images of a Zipf popularity that share bases, tags that move,
clients that hold nothing, each image in a repository of its own, pulls at equal distances in time.

The time to live is what docker-registry 2.8 does as a cache (registry/proxy and its scheduler): a blob leaves 168 hours
after it was fetched, however often it was used since, and nothing else bounds the disk. What a repository has fetched
serves that repository alone, its bytes lie on the disk once, and they go when the first of the repositories that
fetched them says so. How much disk it takes is therefore up to the pulls a week; the others get a budget of as much as
it takes on average over the trace. Not counted against it: that it fetches from upstream twice what it lacks. To tell
apart what comes of the time to live, the same is asked with all images in one repository.
"""

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.bench import Bench, Samples
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question, at_least, compare
from proxycache.policy.eviction import BlobUse, worth

_IMAGES, _BASES = 400, 25
_SHARES = (0.05, 0.10, 0.20)
_PULLS_A_WEEK = (50, 200, 1_000)
_TAG_MOVES_EVERY = 20
_LRU, _TTL = "LRU", "docker-registry's 7 days"
Layer = tuple[str, int]
Policy = Callable[[Sequence[Layer], int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One image is pulled whole, from the repository of its number."""

    repository: int
    layers: Sequence[Layer]


def _make_trace(pulls: int, seed: int) -> list[Pull]:
    chance = random.Random(seed)

    def layer(name: str, typical: float) -> Layer:
        return name, max(200, int(chance.lognormvariate(0, 1.2) * typical))

    def own_layers(number: int, version: int) -> list[Layer]:
        kinds = [("config", 4e3), *((f"layer{index}", 3e6) for index in range(chance.randrange(1, 6)))]
        return [layer(f"{number}.{version}.{kind}", typical) for kind, typical in kinds]

    bases = [[layer(f"base{base}.{index}", 3e7) for index in range(chance.randrange(1, 4))] for base in range(_BASES)]
    images = [chance.choice(bases) + own_layers(number, 0) for number in range(_IMAGES)]
    weights = [1 / rank for rank in range(1, _IMAGES + 1)]
    trace: list[Pull] = []
    for pull in range(pulls):
        (number,) = chance.choices(range(_IMAGES), weights)
        if pull % _TAG_MOVES_EVERY == 0:
            base = [one for one in images[number] if one[0].startswith("base")]
            images[number] = base + own_layers(number, pull + 1)
        trace.append(Pull(repository=number, layers=images[number]))
    return trace


def _save_by_worth(trace: Sequence[Layer], budget: int) -> float:
    """What store/usage and registry/make_room do: the lowest rank goes, and the level rises to it."""
    ranks: dict[str, tuple[float, int, int]] = {}
    queue: list[tuple[float, str]] = []
    level, taken, saved = 0.0, 0, 0
    for name, size in trace:
        _, _, uses = ranks.get(name, (0.0, size, 0))
        if name in ranks:
            saved += size
        else:
            taken += size
            while taken > budget and queue:
                rank, oldest = heapq.heappop(queue)
                if oldest in ranks and ranks[oldest][0] == rank:
                    level = max(level, rank)
                    taken -= ranks.pop(oldest)[1]
        rank = level + worth(BlobUse(size=size, uses=uses + 1, is_manifest=False))
        ranks[name] = rank, size, uses + 1
        heapq.heappush(queue, (rank, name))
    return saved / sum(size for _, size in trace)


def _save_by_last_use(trace: Sequence[Layer], budget: int) -> float:
    held: OrderedDict[str, int] = OrderedDict()
    taken, saved = 0, 0
    for name, size in trace:
        if name in held:
            saved += size
            held.move_to_end(name)
            continue
        held[name] = size
        taken += size
        while taken > budget:
            taken -= held.popitem(last=False)[1]
    return saved / sum(size for _, size in trace)


class _TimeToLive:
    """docker-registry's cache: what it holds, and what it has saved."""

    def __init__(self, pulls_a_week: int) -> None:
        self._lives_for = pulls_a_week
        self._links: set[tuple[int, str]] = set()
        self._sizes: dict[str, int] = {}
        self._timers: deque[tuple[int, int, str]] = deque()
        self.taken = 0
        self.saved = 0

    def pull(self, now: int, pull: Pull) -> None:
        self._expire(now)
        for name, size in pull.layers:
            link = pull.repository, name
            if link in self._links and name in self._sizes:
                self.saved += size
                continue
            self._links.add(link)
            self._timers.append((now + self._lives_for, *link))
            if name not in self._sizes:
                self._sizes[name] = size
                self.taken += size

    def _expire(self, now: int) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, repository, name = self._timers.popleft()
            if (repository, name) in self._links and name in self._sizes:  # else it fails, and the link stays
                self._links.remove((repository, name))
                self.taken -= self._sizes.pop(name)


def _save_by_time_to_live(trace: Sequence[Pull], pulls_a_week: int) -> tuple[float, int]:
    """Return the share of bytes saved, and the bytes that are held on average."""
    cache, taken = _TimeToLive(pulls_a_week), 0
    for number, pull in enumerate(trace):
        cache.pull(number, pull)
        taken += cache.taken
    return cache.saved / sum(size for _, size in _layers_of(trace)), taken // len(trace)


def _layers_of(trace: Sequence[Pull]) -> list[Layer]:
    return [layer for pull in trace for layer in pull.layers]


_POLICIES: dict[str, Policy] = {PROXYCACHE.name: _save_by_worth, _LRU: _save_by_last_use}


def _ask(bench: Bench) -> Iterator[Finding]:
    traces = [_make_trace(2_000 if bench.is_quick else 10_000, seed) for seed in range(bench.runs)]
    for share in _SHARES:
        saved = Samples(unit="% of bytes saved")
        for layers in map(_layers_of, traces):
            _add(saved, layers, budget=int(share * sum(dict(layers).values())))
        yield compare(f"budget of {share:.0%} of all bytes, simulated: bytes saved", saved, _LRU, at_least(1.0))
    in_one = [[replace(pull, repository=0) for pull in trace] for trace in traces]
    for pulls_a_week in _PULLS_A_WEEK:
        yield _ask_at_equal_disk(traces, pulls_a_week, f"{pulls_a_week} pulls a week")
        yield _ask_at_equal_disk(in_one, pulls_a_week, f"{pulls_a_week} pulls a week, one repository")


def _ask_at_equal_disk(traces: Sequence[Sequence[Pull]], pulls_a_week: int, text: str) -> Finding:
    saved = Samples(unit="% of bytes saved")
    for trace in traces:
        share_saved, taken = _save_by_time_to_live(trace, pulls_a_week)
        saved.add(_TTL, share_saved * 100)
        _add(saved, _layers_of(trace), budget=taken)
    return compare(f"{text}, equal disk, simulated: bytes saved", saved, _TTL, at_least(1.0))


def _add(saved: Samples, layers: Sequence[Layer], *, budget: int) -> None:
    for name, policy in _POLICIES.items():
        saved.add(name, policy(layers, budget) * 100)


QUESTION = Question(name="hit-ratio", ask=_ask)
