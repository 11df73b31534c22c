"""What a benchmark is: a question by name, and the findings that answer it, each with what is to be reached."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.bench import Bench, Samples
from benchmarks.peers import PROXYCACHE


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound that a figure is to reach: at least (a minimum) or at most."""

    limit: float
    unit: str
    is_minimum: bool

    def is_reached(self, value: float) -> bool:
        return value >= self.limit if self.is_minimum else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_minimum else '≤'} {self.limit:g} {self.unit}"


def at_least(limit: float, unit: str = "x") -> Target:
    return Target(limit=limit, unit=unit, is_minimum=True)


def at_most(limit: float, unit: str = "x") -> Target:
    return Target(limit=limit, unit=unit, is_minimum=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the table: what was asked, the value (None: could not be measured), and its target."""

    text: str
    value: float | None
    target: Target
    samples: Samples

    @property
    def is_reached(self) -> bool | None:
        return None if self.value is None else self.target.is_reached(self.value)


def compare(text: str, samples: Samples, peer: str, target: Target) -> Finding:
    """The ratio of proxycache's median to the peer's."""
    return Finding(text=f"{text} / {peer}", value=samples.ratio(PROXYCACHE.name, peer), target=target, samples=samples)


def own_figure(text: str, samples: Samples, target: Target) -> Finding:
    """Proxycache's median itself; what the peers reach stands beside it."""
    return Finding(text=text, value=samples.median(PROXYCACHE.name), target=target, samples=samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Asked by its name; `ask` measures and answers with findings."""

    name: str
    ask: Callable[[Bench], Iterable[Finding]]
