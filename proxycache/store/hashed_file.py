"""A file that grows at its end, and the hash of all that it holds, kept while it grows. Everything here blocks.

Positions are given with every call, so that whoever else reads the same open file moves none of ours.
"""

import os
from collections.abc import Callable, Sequence

from proxycache.oci.digest import Hash

_READ_BYTES = 1024 * 1024


class HashedFile:
    """The first `written` bytes of an open file; `hash` has taken in all of them."""

    def __init__(self, descriptor: int, content_hash: Hash, written: int = 0) -> None:
        self._descriptor = descriptor
        self.hash = content_hash
        self.written = written

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write and hash pieces; raises OSError, and then `written` says how far that went."""
        views = [memoryview(piece) for piece in pieces if piece]
        while views:
            count = os.pwritev(self._descriptor, views, self.written)
            self.written += count
            while views and count >= len(views[0]):
                count -= len(views[0])
                self.hash.update(views.pop(0))
            if count:  # written in part, as when a disk is nearly full
                self.hash.update(views[0][:count])
                views[0] = views[0][count:]

    def take_over(self, size: int, each_piece: Callable[[], None] = lambda: None) -> None:
        """Hash what is there already, up to `size` bytes in all; tell of each piece."""
        while self.written < size:
            piece = os.pread(self._descriptor, min(_READ_BYTES, size - self.written), self.written)
            if not piece:
                break
            self.hash.update(piece)
            self.written += len(piece)
            each_piece()
