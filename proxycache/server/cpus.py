"""How many CPUs this process may use: what affinity and the cgroups' quotas leave."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Return the number of CPUs that work can really run on at once, 1 or more."""
    allowed = len(os.sched_getaffinity(0))
    quotas = [math.ceil(quota) for quota in cgroup_quotas(CGROUPS, OWN_CGROUPS)]
    return max(1, min([allowed, *quotas]))


def cgroup_quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield, in CPUs, each quota that limits the process: its own cgroup's and those above (versions 1 and 2)."""
    for line in (_read(own) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        below = mount / path.lstrip("/")
        for directory in (below, *below.parents):
            if directory.is_relative_to(mount):
                yield from _quota_of(directory)


def _quota_of(directory: Path) -> Iterator[float]:
    fields = (_read(directory / "cpu.max") or "").split()
    if not fields:
        fields = [_read(directory / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    numbers = [int(field) for field in fields if field.strip().isdecimal()]
    if len(numbers) == 2 and min(numbers) > 0:  # "max" and -1 are no limit
        yield numbers[0] / numbers[1]


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None
