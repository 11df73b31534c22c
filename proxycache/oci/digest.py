"""Digests: what content is called, and how it proves that it is that content.

A `Digest` that exists is well formed: it is made by `parse_digest` or `digest_of` only. Hex digits are lowercase
(image-spec, "Digests"): one content has one name per algorithm, and a name is safe as a part of a path.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from proxycache.oci.errors import DigestInvalid

_GRAMMAR = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


class Hash(Protocol):
    """A running hash, as `hashlib` makes them; its type has no public name there."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in more of the content."""
        ...

    def hexdigest(self) -> str:
        """Return the hash of all that was taken in so far."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The name of exactly one content, as in `sha256:ab12…`."""

    algorithm: str
    encoded: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    def new_hash(self) -> Hash:
        """Return an empty hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, content_hash: Hash) -> bool:
        """Return whether the content that `content_hash` has taken in is the one named."""
        return content_hash.hexdigest() == self.encoded


def parse_digest(text: str) -> Digest:
    """Return the digest that `text` spells; raises DigestInvalid for any other algorithm, length or letter case."""
    if _GRAMMAR.fullmatch(text) is None:
        raise DigestInvalid(text)
    algorithm, _, encoded = text.partition(":")
    return Digest(algorithm, encoded)


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    """Return the digest of `data`; `algorithm` is one that `parse_digest` knows."""
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())
