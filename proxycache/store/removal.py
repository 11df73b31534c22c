"""Blobs that leave: first the file of each, then its row (invariant 2), whoever decided that they go."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreError
from proxycache.store.usage import Candidate, Usage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Those whose files are `gone`, and rows not yet; and those that `stayed`: somebody reads, pushes or wants them."""

    gone: Sequence[Candidate]
    stayed: Sequence[Candidate]

    @property
    def size(self) -> int:
        """How many bytes are gone."""
        return sum(item.size for item in self.gone)

    @property
    def taken(self) -> int:
        """How many bytes of the disk are free for that."""
        return sum(item.taken for item in self.gone)


async def remove_files(blobs: BlobStore, usage: Usage, leaving: Iterable[Candidate]) -> Removed:
    """Remove the files of marked blobs; one that the disk refuses to remove stays, and keeps no others here."""
    gone: list[Candidate] = []
    stayed: list[Candidate] = []
    for candidate in leaving:
        try:
            is_gone = await blobs.remove(candidate.digest, usage.is_leaving)
        except StoreError as error:
            logger.warning("cannot remove blob", extra={"digest": str(candidate.digest), "why": str(error)})
            is_gone = False
        (gone if is_gone else stayed).append(candidate)
    return Removed(gone=gone, stayed=stayed)


async def let_stay(blobs: BlobStore, usage: Usage, stayed: Iterable[Candidate]) -> None:
    """Take the marks back, for they would keep blobs from being used; raises StoreError.

    Not of what somebody else has removed in the meantime, or removes: a row without a mark has a file.
    """
    for candidate in stayed:
        async with blobs.kept(candidate.digest):
            if blobs.has(candidate.digest):
                await usage.unmark(candidate.digest)
