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
_VERIFIED = b"\n"  # behind the fields


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRecord:
    """The first `offset` bytes of the session count, and `hashed` is their hash. `started_at` is epoch seconds.

    `is_verified`: they are all, and are becoming a blob; nobody may write to them any more.
    """

    repository: str
    algorithm: str
    offset: int
    hashed: str
    boot_id: str
    started_at: float
    is_verified: bool = False


def read_record(path: Path) -> UploadRecord | None:
    """*Blocking.* Return what the file says, or None if there is none or it makes no sense."""
    try:
        content = path.read_bytes()
        return UploadRecord(**json.loads(content), is_verified=content.endswith(_VERIFIED))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_record(path: Path, record: UploadRecord) -> None:
    """*Blocking.* Replace what the file says."""
    fields = asdict(record)
    mark = _VERIFIED if fields.pop("is_verified") else b""
    write_file(path, json.dumps(fields).encode() + mark, _MODE, is_durable=False)


def mark_verified(path: Path) -> None:
    """*Blocking.* Let the file say besides that the session is verified.

    Replacing it would make the sync of the blob, which comes next, wait for this file as well: 4 ms on ext4.
    """
    with path.open("ab") as file:
        file.write(_VERIFIED)


@functools.cache
def boot_id() -> str:
    """*Blocking.* Return what tells this run of the kernel from any other."""
    return _BOOT_ID.read_text(encoding="ascii").strip()
