"""What somebody can choose about the disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where everything lies: one directory on one local file system, shared by all worker processes; and its bounds.

    `max_size`: bytes that cached content, spools and the database may take, 0 for no limit. `min_free`: bytes that stay
    free on the file system.
    """

    directory: Path
    max_size: int = 50 * 1024**3
    min_free: int = 1024**3
