"""What somebody can choose about the disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where everything lies: one directory on one local file system, shared by all worker processes."""

    directory: Path
