"""A key that only this cache knows: made once, the same for all its processes, kept over restarts."""

import secrets
from pathlib import Path

from proxycache.store.durable import create_file
from proxycache.store.errors import StoreUnusable

KEY_BYTES = 32
_MODE = 0o600


def open_key(path: Path) -> bytes:
    """Return the key, made first where there is none; of all who try at once one makes it. Raises StoreUnusable."""
    try:
        if not path.exists():
            create_file(path, secrets.token_bytes(KEY_BYTES), _MODE)
        key = path.read_bytes()
    except OSError as error:
        raise StoreUnusable(path, error.strerror or str(error)) from error
    if len(key) != KEY_BYTES:
        raise StoreUnusable(path, f"a key has {KEY_BYTES} bytes; remove it, and a new one is made")
    return key
