"""The body of a request, as it comes. Who asks first (`Expect: 100-continue`) is told to send when somebody reads it.

A client that stops sending ends its request; the connection ends with it, as with any body that is not read to its end.
"""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, hdrs, web

from proxycache.oci.errors import BodyStalled

STALL_SECONDS = 60.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def body_size(request: web.BaseRequest) -> int | None:
    """Return the size that the request announces, 0 for one without a body; None: its body says where it ends."""
    if hdrs.TRANSFER_ENCODING in request.headers:
        return None
    return request.content_length or 0


async def body_pieces(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """Yield the body, from now on.

    Raises BodyStalled if nothing comes for a minute, ConnectionError if the client has left or sends what is no body.
    """
    if awaits_permission(request):
        await request.writer.write(_CONTINUE)
    while piece := await _read(request):
        yield piece


async def read_body(request: web.BaseRequest, *, most_bytes: int) -> bytes | None:
    """Return the whole body, or None, without reading more, as soon as it is larger than `most_bytes`."""
    if (body_size(request) or 0) > most_bytes:
        return None
    body = bytearray()
    async for piece in body_pieces(request):
        body += piece
        if len(body) > most_bytes:
            return None
    return bytes(body)


def awaits_permission(request: web.BaseRequest) -> bool:
    """Tell whether the client sends its body only once it is told to, or after some time."""
    expects = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
    return expects and request.version >= HttpVersion11 and request.can_read_body


def end_unless_read(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Close the connection after `response` if nobody can tell whether the body will still come."""
    if awaits_permission(request) and not request.content.is_eof():
        response.force_close()


async def _read(request: web.BaseRequest) -> bytes:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            return await request.content.readany()
    except TimeoutError:
        raise BodyStalled(STALL_SECONDS) from None
    except web.RequestPayloadError as error:
        raise ConnectionResetError(str(error)) from error
