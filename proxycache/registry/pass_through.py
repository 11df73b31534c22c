"""Pass through: a blob past the disk, each reader on an upstream request of its own.

For the times when a fill cannot serve: a disk that is full or broken, a leader that is stuck, a range far ahead.
What is hashed here is hashed for one reader; the tail waits for it as it does in a fill (invariant 4).
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import BinaryIO

from proxycache.oci.byte_range import Span
from proxycache.oci.digest import Digest, Hash
from proxycache.policy.retry import resume_delay
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.spool import HELD_BACK_BYTES
from proxycache.tasks import run_to_end
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnreachable

_READ_BYTES = 1024 * 1024


async def pass_through(
    source: UpstreamRepository, digest: Digest, span: Span, *, size: int, prefix: BinaryIO | None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of `span` of a blob of `size` bytes, the tail only once the whole is verified.

    `prefix` is a file that holds the bytes before `span.start`, so that they need not be fetched again. Raises
    UpstreamError; the caller must cut its reader then.
    """
    tail = max(0, size - HELD_BACK_BYTES)
    if span.stop <= tail:
        async with aclosing(fetch_resuming(source, digest, span)) as pieces:
            async for piece in pieces:
                yield piece
        return
    content_hash = digest.new_hash()
    position = 0
    if prefix is not None:
        position = await run_to_end(_hash_file, prefix, span.start, content_hash)
    held_back = bytearray()
    async with aclosing(fetch_resuming(source, digest, Span(start=position, stop=size))) as pieces:
        async for piece in pieces:
            await asyncio.to_thread(content_hash.update, piece)
            wanted = _cut(piece, position, span)
            free = max(0, min(len(wanted), tail - max(position, span.start)))
            if free:
                yield wanted[:free]
            held_back += wanted[free:]
            position += len(piece)
    if not digest.matches(content_hash):
        raise UpstreamMisbehaved(source.upstream, f"sent wrong content for {digest}")
    if held_back:
        yield bytes(held_back)


async def fetch_resuming(source: UpstreamRepository, digest: Digest, span: Span) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of `span` from the upstream, unverified, resuming for as long as that makes progress."""
    position = span.start
    fruitless = 0
    while position < span.stop:
        before = position
        opening = source.online().open_blob(source.repository, digest, start=position, stop=span.stop)
        try:
            async with opening as blob:
                offset = blob.start
                async for piece in blob.pieces():
                    await source.keep_pace(len(piece), received=offset - blob.start)
                    wanted = _cut(piece, offset, Span(start=position, stop=span.stop))
                    offset += len(piece)
                    if wanted:
                        position += len(wanted)
                        yield wanted
                    if position >= span.stop:
                        return
            if position == before:
                raise UpstreamMisbehaved(source.upstream, f"{digest} has other bytes than were announced")
        except UpstreamUnreachable:
            fruitless = 0 if position > before else fruitless + 1
            delay = resume_delay(fruitless)
            if delay is None:
                raise
            await asyncio.sleep(delay)


def _cut(piece: bytes, offset: int, span: Span) -> bytes:
    """Return what of `piece`, which begins at `offset`, lies within `span`."""
    if offset >= span.start and offset + len(piece) <= span.stop:
        return piece
    return piece[max(0, span.start - offset) : max(0, span.stop - offset)]


def _hash_file(file: BinaryIO, size: int, content_hash: Hash) -> int:
    position = 0
    while position < size:
        piece = os.pread(file.fileno(), min(_READ_BYTES, size - position), position)
        if not piece:
            break
        content_hash.update(piece)
        position += len(piece)
    return position
