"""What all processes know of an upload session: a small file, replaced as a whole.

It is not synced. It outlives any process, but after a power cut, which another boot id shows, what it says of the
bytes is not to be believed.
"""

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from proxycache.store.durable import write_file

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRecord:
    """The first `offset` bytes of the session count, and `hashed` is their hash. `started_at` is epoch seconds."""

    repository: str
    algorithm: str
    offset: int
    hashed: str
    boot_id: str
    started_at: float


def read_record(path: Path) -> UploadRecord | None:
    """*Blocking.* Return what the file says, or None if there is none or it makes no sense."""
    try:
        return UploadRecord(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_record(path: Path, record: UploadRecord) -> None:
    """*Blocking.* Replace what the file says."""
    write_file(path, json.dumps(asdict(record)).encode(), _MODE, is_durable=False)


@functools.cache
def boot_id() -> str:
    """*Blocking.* Return what tells this run of the kernel from any other."""
    return _BOOT_ID.read_text(encoding="ascii").strip()
