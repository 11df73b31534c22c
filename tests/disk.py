"""What lies on the disk, as `du` sees it."""

import contextlib
import os
from pathlib import Path


def taken(directory: Path) -> int:
    """Return the bytes that everything below `directory` takes, in blocks; what goes this moment may be missed.

    What is renamed while it is looked at counts once.
    """
    sizes: dict[int, int] = {}
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            sizes[status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def open_files(path: Path) -> list[str]:
    """Return what this process has open of `path`, or below it, as often as it has; what goes meanwhile is missed."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(each))
    return [name for name in found if name.startswith(str(path))]
