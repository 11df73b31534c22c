"""Which share of the bytes asked for does eviction by worth save, beside LRU and beside a fixed time to live?

A simulation of the policy alone, on a generated trace: images of a Zipf popularity that share bases, tags that move,
clients that hold nothing. The time to live is the longest that fits the budget: what was fetched first goes first.
"""

import heapq
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from benchmarks.bench import Bench, Samples
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question, at_least, compare
from proxycache.policy.eviction import BlobUse, worth

_IMAGES, _BASES = 400, 25
_SHARES = (0.05, 0.10, 0.20)
_TAG_MOVES_EVERY = 20
_LRU, _TTL = "LRU", "fixed time to live"
Layer = tuple[str, int]
Policy = Callable[[Sequence[Layer], int], float]


def _make_trace(pulls: int, seed: int) -> list[Layer]:
    chance = random.Random(seed)

    def layer(name: str, typical: float) -> Layer:
        return name, max(200, int(chance.lognormvariate(0, 1.2) * typical))

    def own_layers(number: int, version: int) -> list[Layer]:
        kinds = [("config", 4e3), *((f"layer{index}", 3e6) for index in range(chance.randrange(1, 6)))]
        return [layer(f"{number}.{version}.{kind}", typical) for kind, typical in kinds]

    bases = [[layer(f"base{base}.{index}", 3e7) for index in range(chance.randrange(1, 4))] for base in range(_BASES)]
    images = [chance.choice(bases) + own_layers(number, 0) for number in range(_IMAGES)]
    weights = [1 / rank for rank in range(1, _IMAGES + 1)]
    trace: list[Layer] = []
    for pull in range(pulls):
        (number,) = chance.choices(range(_IMAGES), weights)
        if pull % _TAG_MOVES_EVERY == 0:
            base = [one for one in images[number] if one[0].startswith("base")]
            images[number] = base + own_layers(number, pull + 1)
        trace += images[number]
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


def _save_in_order(trace: Sequence[Layer], budget: int, *, uses_count: bool) -> float:
    held: OrderedDict[str, int] = OrderedDict()
    taken, saved = 0, 0
    for name, size in trace:
        if name in held:
            saved += size
            if uses_count:
                held.move_to_end(name)
            continue
        held[name] = size
        taken += size
        while taken > budget:
            taken -= held.popitem(last=False)[1]
    return saved / sum(size for _, size in trace)


_POLICIES: dict[str, Policy] = {
    PROXYCACHE.name: _save_by_worth,
    _LRU: lambda trace, budget: _save_in_order(trace, budget, uses_count=True),
    _TTL: lambda trace, budget: _save_in_order(trace, budget, uses_count=False),
}


def _ask(bench: Bench) -> Iterator[Finding]:
    traces = [_make_trace(2_000 if bench.is_quick else 10_000, seed) for seed in range(bench.runs)]
    for share in _SHARES:
        saved = Samples(unit="% of bytes saved")
        for trace in traces:
            budget = int(share * sum(dict(trace).values()))
            for name, policy in _POLICIES.items():
                saved.add(name, policy(trace, budget) * 100)
        text = f"budget of {share:.0%} of all bytes, simulated: bytes saved"
        yield compare(text, saved, _LRU, at_least(1.0))
        yield compare(text, saved, _TTL, at_least(1.0))


QUESTION = Question(name="hit-ratio", ask=_ask)
