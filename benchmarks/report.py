"""What a run found: printed as a table of ratios, written as JSON with what it was measured on."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Samples
from benchmarks.peers import EVERY_SUBJECT
from benchmarks.processes import SubjectAbsent
from benchmarks.question import Finding

_VERDICTS = {True: "reached", False: "NOT REACHED", None: "not measured"}


def format_heading() -> str:
    return _format_columns("question", "measured", "to reach", "", "medians")


def format_line(finding: Finding) -> str:
    value = "-" if finding.value is None else f"{finding.value:.2f} {finding.target.unit}"
    return _format_columns(
        finding.text, value, str(finding.target), _VERDICTS[finding.is_reached], _format_medians(finding.samples)
    )


def _format_columns(text: str, value: str, target: str, verdict: str, medians: str) -> str:
    return f"{text:<78} {value:>10} {target:>9}  {verdict:<12} {medians}"


def format_absences(findings: Iterable[Finding]) -> list[str]:
    """Each reason for which a subject was not measured, once."""
    return sorted({reason for finding in findings for reason in finding.samples.absent.values()})


def _format_medians(samples: Samples) -> str:
    medians = {subject: samples.median(subject) for subject in samples.by_subject}
    figures = [f"{subject} {_format_figure(median)}" for subject, median in medians.items() if median is not None]
    return f"{', '.join(figures)} {samples.unit}" if figures else ""


def _format_figure(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def describe(findings: Sequence[Finding], *, runs: int, is_quick: bool) -> dict[str, Any]:
    return {
        "commit": _commit(),
        "python": sys.version.split()[0],
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "runs": runs,
        "quick": is_quick,
        "versions": _versions(),
        "findings": [_describe_finding(finding) for finding in findings],
    }


def write_json(file: Path, findings: Sequence[Finding], *, runs: int, is_quick: bool) -> None:
    description = describe(findings, runs=runs, is_quick=is_quick)
    file.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n")


def _describe_finding(finding: Finding) -> dict[str, Any]:
    return {
        "text": finding.text,
        "value": finding.value,
        "unit": finding.target.unit,
        "target": str(finding.target),
        "reached": finding.is_reached,
        "samples": finding.samples.by_subject,
        "samples_unit": finding.samples.unit,
        "absent": finding.samples.absent,
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for subject in EVERY_SUBJECT:
        with contextlib.suppress(SubjectAbsent):
            versions[subject.name] = subject.find_version()
    return versions
