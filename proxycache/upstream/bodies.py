"""Small bodies of answers: read whole, up to a limit, as they were sent."""

from typing import TypeVar

import aiohttp
import msgspec

from proxycache.upstream.errors import UpstreamMisbehaved
from proxycache.upstream.failures import translated_errors

T = TypeVar("T")


async def read_body(upstream: str, response: aiohttp.ClientResponse, *, max_size: int) -> bytes:
    """Return the body; raises UpstreamMisbehaved as soon as it is larger than `max_size`."""
    body = bytearray()
    with translated_errors(upstream):
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > max_size:
                raise UpstreamMisbehaved(upstream, f"an answer larger than {max_size} bytes")
    return bytes(body)


def decode_json(upstream: str, body: bytes, shape: type[T]) -> T:
    """Return `body` as `shape`; raises UpstreamMisbehaved if it is anything else."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UpstreamMisbehaved(upstream, "the answer is not the JSON that it should be") from None
