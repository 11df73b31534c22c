"""Changing a file of users: whole and at once, with everything else in it left as it is."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from proxycache.registry.settings import read_users, user_lines
from proxycache.store.durable import write_file

_MODE_OF_A_NEW_ONE = 0o600


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
    """Put `line` in the place of the user's, at the end where it has none; nothing in its place for None.

    Whoever could read the file still can, and nobody else: the account that serves, above all.
    """
    path = path.resolve()  # what a link leads to is replaced, not the link
    text = path.read_text() if path.exists() else ""
    lines = text.splitlines()
    mine = [number for number, user, _ in user_lines(text) if user == name]
    place = mine[0] - 1 if mine else len(lines)
    lines[place : place + 1] = [] if line is None else [line]
    mode, owner = _MODE_OF_A_NEW_ONE, None
    if path.exists():
        old = path.stat()
        mode, owner = stat.S_IMODE(old.st_mode), (old.st_uid, old.st_gid)
    content = "".join(f"{each}\n" for each in lines).encode()
    try:
        write_file(path, content, mode, owner=owner)
    except PermissionError as error:
        raise PermissionError(error.errno, f"cannot be replaced: {error.strerror}", str(path)) from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
