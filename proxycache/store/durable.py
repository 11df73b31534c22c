"""The steps that make bytes survive a crash, each in its order; nothing else may fsync or rename.

A file appears under its final name only when it is whole and on the disk. The durable steps, at each of which a
process may be killed without harm to any file that has its final name:

    1  content synced      what the file holds is on the disk, under its temporary name
    2  made read-only      from here on nobody writes it (publish_file only)
    3  directories synced  the folders above the final name are on the disk
    4  renamed             the final name appears, at once and whole
    5  directory synced    the final name is on the disk

Before step 4 a crash leaves a temporary file, after it a finished one. All functions block: run them in a thread.
"""

import contextlib
import os
import tempfile
from pathlib import Path

READ_ONLY = 0o444


def sync_file(descriptor: int) -> None:
    """Return when the file's content is on the disk (step 1)."""
    os.fsync(descriptor)  # noqa: TID251 - the one place


def sync_directory(directory: Path) -> None:
    """Return when the names in `directory` are on the disk (steps 3 and 5)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create `directory` and what is missing above it, durably (step 3)."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def publish_file(source: Path, target: Path) -> None:
    """Make `source` the read-only file `target`, durable on return; both lie on one file system.

    A `target` that is there already is replaced. When this raises, `source` or `target` is there, never neither.
    """
    descriptor = os.open(source, os.O_RDONLY)
    try:
        sync_file(descriptor)
        os.fchmod(descriptor, READ_ONLY)
    finally:
        os.close(descriptor)
    make_directory(target.parent)
    _rename(source, target)
    sync_directory(target.parent)


def write_file(
    path: Path, content: bytes, mode: int, *, is_durable: bool = True, owner: tuple[int, int] | None = None
) -> None:
    """Write `path` with `content`, durable on return; a reader sees the old file or the new one, never a part.

    With `is_durable` off this outlives the process, but not a power cut. `owner`: the user and group whose it is, ours
    where none is given; raises PermissionError, with nothing changed, where it may not be given to them.
    """
    temporary = _write_beside(path, content, mode, is_durable=is_durable, owner=owner)
    try:
        _rename(temporary, path)
        if is_durable:
            sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def create_file(path: Path, content: bytes, mode: int) -> None:
    """Make `path` with `content`, durable on return, unless somebody else was first; a reader never sees a part."""
    temporary = _write_beside(path, content, mode, is_durable=True)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _write_beside(
    path: Path, content: bytes, mode: int, *, is_durable: bool, owner: tuple[int, int] | None = None
) -> Path:
    """Write a temporary file in the folder of `path`, if durable with step 1; gone if that fails."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            if is_durable:
                sync_file(descriptor)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _rename(source: Path, target: Path) -> None:
    os.replace(source, target)  # noqa: PTH105, TID251 - the one place
