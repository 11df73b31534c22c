"""Changing a file of users: whole and at once, with everything else in it left as it is."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from proxycache.registry.settings import read_users, user_lines
from proxycache.store.durable import write_file

_MODE = 0o600


def list_users(path: Path) -> list[str]:
    """Return the users of the file, none where there is no file; raises ValueError where it is not right."""
    return list(read_users(path)) if path.exists() else []


def set_user(path: Path, name: str, hashed: bytes, *, is_new: bool) -> bool:
    """Give the user that password, and tell whether that was done: `is_new` adds one, else one has to be there.

    Raises ValueError where the file is not right, OSError where it cannot be written.
    """
    with _locked(path.parent):
        if (name in list_users(path)) is is_new:
            return False
        _rewrite(path, name, f"{name}:{hashed.decode()}")
    return True


def remove_user(path: Path, name: str) -> bool:
    """Remove the user, and tell whether there was one; raises as `set_user` does."""
    with _locked(path.parent):
        if name not in list_users(path):
            return False
        _rewrite(path, name, None)
    return True


def _rewrite(path: Path, name: str, line: str | None) -> None:
    """Put `line` in the place of the user's, at the end where it has none; nothing in its place for None."""
    path = path.resolve()  # what a link leads to is replaced, not the link
    text = path.read_text() if path.exists() else ""
    lines = text.splitlines()
    mine = [number for number, user, _ in user_lines(text) if user == name]
    place = mine[0] - 1 if mine else len(lines)
    lines[place : place + 1] = [] if line is None else [line]
    owner = path.stat() if path.exists() else None
    write_file(path, "".join(f"{each}\n" for each in lines).encode(), _MODE)
    if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):  # only root may give a file away
            os.chown(path, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
