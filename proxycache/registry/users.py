"""Who can sign in: the users of a file that others edit, read anew when it has changed."""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import bcrypt

from proxycache.registry.settings import read_users
from proxycache.store.errors import StoreUnusable

logger = logging.getLogger(__name__)

COST = 12
LONGEST_PASSWORD_BYTES = 72
"""What bcrypt looks at; what comes after is ignored by all who use it."""

Stamp = tuple[int, int, int]
_NEVER: Stamp = (0, 0, 0)


class Users:
    """The users as the file says now. A file that was broken later counts as it was before."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp = _NEVER
        self._hashes: Mapping[str, bytes] | None = {} if path is None else None

    async def hashes(self) -> Mapping[str, bytes]:
        """Return the hash of each user; raises StoreUnusable where the file could never be read."""
        if self._path is None:
            return {}
        stamp = stamp_of(self._path)
        if stamp != self._stamp or self._hashes is None:
            await self._read(self._path, stamp)
        if self._hashes is None:
            raise StoreUnusable(self._path, "users cannot be read")
        return self._hashes

    async def _read(self, path: Path, stamp: Stamp) -> None:
        """Read the file as it is at `stamp` or later: one that changes meanwhile has another stamp the next time."""
        try:
            self._hashes = await asyncio.to_thread(read_users, path)
        except ValueError as error:
            if stamp != self._stamp:
                logger.error("users refused", extra={"why": str(error)})
        self._stamp = stamp


def stamp_of(path: Path) -> Stamp:
    """Return what is another one after the file or its owner has changed; every request asks, so it costs little."""
    try:
        status = os.stat(path)  # noqa: PTH116 - half of what Path.stat costs
    except OSError:
        return _NEVER
    return status.st_ctime_ns, status.st_size, status.st_ino


def hash_password(password: str) -> bytes:
    """Return the bcrypt hash; takes a quarter of a second. Raises ValueError for what bcrypt would not tell apart."""
    encoded = password.encode()
    if not encoded:
        raise ValueError("the password is empty")
    if len(encoded) > LONGEST_PASSWORD_BYTES:
        raise ValueError(f"the password has more than {LONGEST_PASSWORD_BYTES} bytes")
    if b"\0" in encoded:
        raise ValueError("the password has a zero byte")
    return bcrypt.hashpw(encoded, bcrypt.gensalt(COST))


def is_password(password: str, hashed: bytes) -> bool:
    """Tell whether `password` is what was hashed; takes as long for any answer."""
    encoded = password.encode(errors="replace").replace(b"\0", b"\xff")  # which no UTF-8 has, so it is wrong
    return bcrypt.checkpw(encoded[:LONGEST_PASSWORD_BYTES], hashed)
