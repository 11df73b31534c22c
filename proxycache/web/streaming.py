"""Bodies that are sent while they are read: parts of files by sendfile where they can be, everything else as bytes.

A body that cannot be completed is cut: the connection closes before the announced end, so that no client takes what
it got for the whole (invariant 4).
"""

import asyncio
import logging
import os

from aiohttp import HttpVersion11, web

from proxycache.oci.errors import ProxycacheError, UpstreamFailed
from proxycache.registry.pull_blob import BlobStream
from proxycache.registry.spool_reader import FilePart
from proxycache.web.exchange import Exchange

logger = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024


class BodyCut(ConnectionResetError):
    """We closed the connection in mid-body; `why` goes to the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


async def send_stream(exchange: Exchange, response: web.StreamResponse, stream: BlobStream) -> None:
    """Send headers, then the stream's parts as they come; raises BodyCut where they end early."""
    request = exchange.request
    is_sized = stream.span is not None
    if not is_sized and request.version < HttpVersion11:
        raise UpstreamFailed("the size is not known yet, and HTTP/1.0 cannot do without: ask again", status=503)
    if not is_sized:
        response.enable_chunked_encoding()
    await response.prepare(request)
    exchange.deadline.reschedule(None)
    expected = stream.span.size if stream.span is not None else None
    try:
        async for part in stream.parts:
            exchange.sent_bytes += await _send_part(request, response, part, is_sized=is_sized)
        if expected is not None and exchange.sent_bytes != expected:
            raise BodyCut(f"{exchange.sent_bytes} of {expected} bytes were there")
    except ConnectionError:
        _end_connection(request)
        raise
    except (ProxycacheError, OSError) as error:
        _end_connection(request)
        raise BodyCut(str(error)) from error
    except Exception as error:
        logger.exception("unexpected error", extra={"path": request.path})
        _end_connection(request)
        raise BodyCut("internal error") from error
    await response.write_eof()


def _end_connection(request: web.BaseRequest) -> None:
    """Close it before the announced end. Whatever went wrong: nothing else may ever be written into this body."""
    if request.transport is not None:
        request.transport.abort()


async def _send_part(
    request: web.BaseRequest, response: web.StreamResponse, part: FilePart | bytes, *, is_sized: bool
) -> int:
    if isinstance(part, bytes):
        await response.write(part)
        return len(part)
    # asyncio's stand-in for sendfile under TLS reads at the file's own position, which all who read it share.
    if not is_sized or request.secure:
        return await _write_file(response, part)
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError
    return await asyncio.get_running_loop().sendfile(request.transport, part.file, part.offset, part.size)


async def _write_file(response: web.StreamResponse, part: FilePart) -> int:
    sent = 0
    while sent < part.size:
        piece = await asyncio.to_thread(
            os.pread, part.file.fileno(), min(_READ_BYTES, part.size - sent), part.offset + sent
        )
        if not piece:
            break
        await response.write(piece)
        sent += len(piece)
    return sent
