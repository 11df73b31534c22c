"""How the fakes send a body: by Range as RFC 9110 says, and then as wrong as a fault asks for."""

import asyncio
import fcntl
import re
import socket
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from tests.fakes.faults import Fault, Pacer

_PIECE = 64 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The part of a body that an answer holds."""

    start: int
    stop: int
    status: int


class ConnectionEnded(Exception):
    """The fake has ended the connection on purpose."""


async def send(
    request: web.BaseRequest, body: bytes, headers: Mapping[str, str], fault: Fault, *, pacer: Pacer | None = None
) -> web.StreamResponse:
    """Answer with `body`, or the part of it that is asked for, as `fault` says."""
    span = _choose_span(request, len(body), fault)
    if span is None:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    response = _make_response(request, headers, (len(body), span, fault))
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        await _send_body(request, response, (body, span, fault), pacer or fault.pacer)
        if (fault.length_off_by or 0) > 0:
            _transport(request).close()
        else:
            await response.write_eof()
    except (ConnectionEnded, ConnectionError):
        return response
    return response


def _make_response(
    request: web.BaseRequest, headers: Mapping[str, str], what: tuple[int, Span, Fault]
) -> web.StreamResponse:
    size, span, fault = what
    response = web.StreamResponse(status=span.status, headers={**headers, **fault.headers, "Accept-Ranges": "bytes"})
    if span.status == 206:
        response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    if not fault.no_length:
        response.content_length = max(0, span.stop - span.start + (fault.length_off_by or 0))
    elif request.method != "HEAD":
        response.enable_chunked_encoding()
    for name in fault.without:
        response.headers.popall(name, None)
    return response


def _choose_span(request: web.BaseRequest, size: int, fault: Fault) -> Span | None:
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is None or asked[0] == "bytes=-" or fault.range_ignored:
        return Span(start=0, stop=size, status=200)
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= min(stop, size):
        return None
    return Span(start=start, stop=stop, status=206)


async def _send_body(
    request: web.BaseRequest, response: web.StreamResponse, what: tuple[bytes, Span, Fault], pacer: Pacer | None
) -> None:
    body, span, fault = what
    stops = _find_stops(span, fault)
    position = span.start
    while True:
        next_stop = min((stop for stop in stops if stop >= position), default=span.stop)
        while position < next_stop:
            piece = _take_piece(body, position, min(next_stop, position + _PIECE), fault)
            if pacer is not None:
                await pacer.take(len(piece))
            await response.write(piece)
            position += len(piece)
        if next_stop not in stops:
            return
        stops.remove(next_stop)
        await _do_fault(request, position - span.start, span, fault)


def _find_stops(span: Span, fault: Fault) -> list[int]:
    places = [fault.cut, fault.reset, fault.stall[0] if fault.stall else None]
    offsets = [span.start + place.in_answer(span.start) for place in places if place is not None]
    return sorted({offset for offset in offsets if span.start <= offset <= span.stop})


def _take_piece(body: bytes, start: int, stop: int, fault: Fault) -> bytes:
    piece = body[start:stop]
    if fault.wrong_byte is not None and start <= fault.wrong_byte < stop:
        flipped = bytearray(piece)
        flipped[fault.wrong_byte - start] ^= 0xFF
        return bytes(flipped)
    return piece


async def _do_fault(request: web.BaseRequest, sent: int, span: Span, fault: Fault) -> None:
    if fault.stall and fault.stall[0].in_answer(span.start) == sent:
        await fault.stall[1].pass_through()
    if fault.reset and fault.reset.in_answer(span.start) == sent:
        await reset_connection(request)
        raise ConnectionEnded
    if fault.cut and fault.cut.in_answer(span.start) == sent:
        _transport(request).close()
        raise ConnectionEnded


async def reset_connection(request: web.BaseRequest) -> None:
    """Send RST once the peer's kernel has everything that was written before."""
    transport = _transport(request)
    endpoint: socket.socket = transport.get_extra_info("socket")
    while transport.get_write_buffer_size() or _count_unsent(endpoint):
        await asyncio.sleep(0.001)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _count_unsent(endpoint: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(endpoint.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])


def _transport(request: web.BaseRequest) -> asyncio.Transport:
    transport = request.transport
    if transport is None:
        raise ConnectionEnded
    assert isinstance(transport, asyncio.Transport)
    return transport
