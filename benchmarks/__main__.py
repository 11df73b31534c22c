"""`python -m benchmarks [question…] [--json FILE] [--runs N] [--quick]`: ask, print a table, write JSON."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    cold_first_byte,
    cold_large_blob,
    eight_clients,
    evicting_hits,
    eviction_cost,
    fifty_clients,
    fresh_tags,
    held_large_blob,
    held_small_blobs,
    hit_ratio,
    latency_while_filling,
    limited_line,
    memory_of_slow_clients,
    push_clients,
    push_large,
    push_many,
    start_with_many_blobs,
    thin_push,
)
from benchmarks.bench import Bench
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question
from benchmarks.report import format_absences, format_heading, format_line, write_json

QUESTIONS = {
    question.name: question
    for question in (
        held_large_blob.QUESTION,
        held_small_blobs.QUESTION,
        fresh_tags.QUESTION,
        cold_large_blob.QUESTION,
        cold_first_byte.QUESTION,
        eight_clients.QUESTION,
        fifty_clients.QUESTION,
        latency_while_filling.QUESTION,
        memory_of_slow_clients.QUESTION,
        start_with_many_blobs.QUESTION,
        evicting_hits.QUESTION,
        eviction_cost.QUESTION,
        hit_ratio.QUESTION,
        limited_line.QUESTION,
        thin_push.QUESTION,
        push_large.QUESTION,
        push_many.QUESTION,
        push_clients.QUESTION,
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when proxycache was measured, whatever the figures say; 1 when it could not be."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and directories are cleaned up
    findings: list[Finding] = []
    print(format_heading())
    with tempfile.TemporaryDirectory(prefix="proxycache-benchmarks-") as directory:
        for name in options.questions or QUESTIONS:
            findings += _ask(QUESTIONS[name], Path(directory) / name, options)
    for reason in format_absences(findings):
        print(f"absent or failed: {reason}")
    if options.json:
        write_json(options.json, findings, runs=options.runs, is_quick=options.quick)
    return int(any(PROXYCACHE.name in finding.samples.absent for finding in findings))


def _ask(question: Question, directory: Path, options: argparse.Namespace) -> list[Finding]:
    directory.mkdir()
    began = time.monotonic()
    findings = list(question.ask(Bench(directory=directory, runs=options.runs, is_quick=options.quick)))
    for finding in findings:
        print(format_line(finding), flush=True)
    print(f"{question.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return findings


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure proxycache beside its peers.")
    parser.add_argument("questions", nargs="*", metavar="question", help=", ".join(QUESTIONS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here")
    parser.add_argument("--runs", type=int, metavar="N", help="interleaved runs of each question (5; quick: 2)")
    parser.add_argument("--quick", action="store_true", help="smaller content and fewer runs: two minutes at most")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.questions if name not in QUESTIONS]:
        parser.error(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    options.runs = options.runs or (2 if options.quick else 5)
    return options


if __name__ == "__main__":
    sys.exit(main())
