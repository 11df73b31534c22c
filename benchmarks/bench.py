"""The bench that questions are asked on: fresh and warm subjects, interleaved runs, figures by subject."""

import contextlib
import itertools
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.downloads import WrongAnswer
from benchmarks.origin import Tree
from benchmarks.peers import Subject
from benchmarks.processes import Server, SubjectAbsent

MIB = 1 << 20
KIB = 1 << 10


@dataclass(slots=True, kw_only=True)
class Samples:
    """Figures by subject, and why a subject has none."""

    unit: str
    by_subject: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, subject: str, figure: float) -> None:
        self.by_subject.setdefault(subject, []).append(figure)

    def median(self, subject: str) -> float | None:
        figures = self.by_subject.get(subject)
        return statistics.median(figures) if figures else None

    def ratio(self, subject: str, peer: str) -> float | None:
        ours, theirs = self.median(subject), self.median(peer)
        return None if ours is None or theirs is None else ours / theirs

    @contextlib.contextmanager
    def noting_absence(self, subject: str) -> Iterator[None]:
        """A subject that cannot be measured is named with its reason; the others go on."""
        try:
            yield
        except (SubjectAbsent, WrongAnswer, OSError) as reason:
            self.absent[subject] = str(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where a question is asked: a directory of its own, how many runs, and whether a quick answer will do."""

    directory: Path
    runs: int
    is_quick: bool
    _places: Iterator[int] = field(default_factory=itertools.count)

    def new_place(self, name: str) -> Path:
        return self.directory / f"{next(self._places)}-{name.replace(' ', '-')}"

    def new_tree(self) -> Tree:
        return Tree(directory=self.new_place("tree"))

    @contextlib.contextmanager
    def fresh(self, subject: Subject, upstream_port: int | None) -> Iterator[Server]:
        """Run `subject` with nothing held, and remove what it kept."""
        place = self.new_place(subject.name)
        try:
            with subject.start(upstream_port, place) as server:
                yield server
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @contextlib.contextmanager
    def all_warm(
        self, subjects: Sequence[Subject], upstream_port: int | None, samples: Samples, warm: Callable[[Server], object]
    ) -> Iterator[list[Server]]:
        """Run `subjects` side by side, each after `warm` made it hold what will be asked for."""
        with contextlib.ExitStack() as running:
            servers: list[Server] = []
            for subject in subjects:
                with samples.noting_absence(subject.name):
                    server = running.enter_context(self.fresh(subject, upstream_port))
                    warm(server)
                    servers.append(server)
            yield servers

    def measure_warm(self, servers: Sequence[Server], samples: Samples, measure: Callable[[Server], float]) -> None:
        """Interleaved runs on servers that hold what they are asked for."""
        for _ in range(self.runs):
            for server in servers:
                with samples.noting_absence(server.name):
                    samples.add(server.name, measure(server))

    def measure_fresh(
        self,
        subjects: Sequence[Subject],
        upstream_port: int | None,
        samples: Samples,
        measure: Callable[[Server], float],
    ) -> None:
        """Interleaved runs, each on a subject that has just started and holds nothing."""
        for _ in range(self.runs):
            for subject in subjects:
                if subject.name not in samples.absent:
                    with samples.noting_absence(subject.name), self.fresh(subject, upstream_port) as server:
                        samples.add(subject.name, measure(server))
