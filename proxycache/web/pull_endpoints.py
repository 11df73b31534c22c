"""GET and HEAD of manifests and blobs (distribution-spec end-2 and end-3): parse, one job, render."""

import math
import os

from aiohttp import hdrs, web

from proxycache.oci.byte_range import content_range
from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.names import parse_reference
from proxycache.registry.pull_blob import BlobStream
from proxycache.registry.pull_manifest import PulledManifest
from proxycache.registry.spool_reader import FilePart
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.web.answers import LARGEST_BODY_BYTES, ReadyAnswer, ReadyResponse, prepare_head
from proxycache.web.exchange import Exchange
from proxycache.web.request_parts import is_unchanged, wanted_range
from proxycache.web.streaming import send_stream

BLOB_TYPE = "application/octet-stream"


async def get_manifest(exchange: Exchange) -> web.StreamResponse:
    """Answer GET and HEAD of a manifest."""
    services = exchange.services
    generation = services.generation()
    reference = parse_reference(exchange.endpoint.rest)
    source = await services.access.open(exchange.find_route(), exchange.caller, reference)
    manifest = await services.manifests.pull(source, reference, with_body=not exchange.is_head)
    exchange.cache = manifest.cache
    headers = _content_headers(source, manifest.digest, manifest.media_type) | _staleness(manifest)
    if is_unchanged(exchange.request, manifest.digest):
        return _not_modified(headers)
    headers[hdrs.CONTENT_LENGTH] = str(manifest.size)
    body = b"" if exchange.is_head else manifest.body or b""
    answer = ReadyAnswer(
        status=200,
        head=prepare_head(200, headers),
        body=body,
        kind="manifest",
        generation=generation,
        fresh_until=manifest.fresh_until,
        digest=manifest.digest,
    )
    if source.is_public and manifest.cache == "hit" and not manifest.stale_because:
        services.memory.remember(exchange.memory_key, answer)
    exchange.sent_bytes = len(body)
    return ReadyResponse(answer)


async def get_blob(exchange: Exchange) -> web.StreamResponse:
    """Answer GET and HEAD of a blob; a HEAD never fills."""
    services = exchange.services
    generation = services.generation()
    digest = parse_digest(exchange.endpoint.rest)
    source = await services.access.open(exchange.find_route(), exchange.caller)
    headers = _content_headers(source, digest, BLOB_TYPE) | {hdrs.ACCEPT_RANGES: "bytes"}
    if exchange.is_head or is_unchanged(exchange.request, digest):
        size, is_held = await services.blobs.find_size(source, digest)
        exchange.cache = "hit" if is_held else "miss"
        if is_unchanged(exchange.request, digest):
            return _not_modified(headers)
        headers[hdrs.CONTENT_LENGTH] = str(size)
        return _ready_blob(exchange, source, headers, b"", generation)
    stream = await services.blobs.open(source, digest, wanted_range(exchange.request, digest))
    try:
        exchange.cache = stream.cache
        small = await _small_body(stream)
        if small is not None:
            headers[hdrs.CONTENT_LENGTH] = str(len(small))
            exchange.sent_bytes = len(small)
            return _ready_blob(exchange, source, headers, small, generation)
        return await _send_blob(exchange, stream, headers)
    finally:
        await stream.close()


async def _send_blob(exchange: Exchange, stream: BlobStream, headers: dict[str, str]) -> web.StreamResponse:
    status = 200
    if stream.span is not None and stream.size is not None:
        headers[hdrs.CONTENT_LENGTH] = str(stream.span.size)
        if stream.is_partial:
            status = 206
            headers[hdrs.CONTENT_RANGE] = content_range(stream.span, stream.size)
    else:
        del headers[hdrs.ACCEPT_RANGES]
    response = web.StreamResponse(status=status, headers=headers)
    await send_stream(exchange, response, stream)
    return response


def _ready_blob(
    exchange: Exchange, source: UpstreamRepository, headers: dict[str, str], body: bytes, generation: int
) -> web.StreamResponse:
    answer = ReadyAnswer(
        status=200,
        head=prepare_head(200, headers),
        body=body,
        kind="blob",
        generation=generation,
        fresh_until=math.inf,
        digest=parse_digest(exchange.endpoint.rest),
    )
    if source.is_public and exchange.cache == "hit":
        exchange.services.memory.remember(exchange.memory_key, answer)
    return ReadyResponse(answer)


async def _small_body(stream: BlobStream) -> bytes | None:
    """Return the bytes of a held blob that is small enough to be remembered whole."""
    if stream.cache != "hit" or stream.is_partial or stream.size is None or stream.size > LARGEST_BODY_BYTES:
        return None
    async for part in stream.parts:
        if isinstance(part, FilePart):
            return os.pread(part.file.fileno(), part.size, part.offset)  # as sendfile does: a thread costs more
    return b""


def _content_headers(source: UpstreamRepository, digest: Digest, media_type: str) -> dict[str, str]:
    return {
        hdrs.CONTENT_TYPE: media_type,
        "Docker-Content-Digest": str(digest),
        "Docker-Distribution-Api-Version": "registry/2.0",
        hdrs.ETAG: f'"{digest}"',
        "OCI-Namespace": source.upstream,
    }


def _staleness(manifest: PulledManifest) -> dict[str, str]:
    """Say that a tag's answer may be old (RFC 9111: Age; distribution-spec: Warning 299, shown by containerd)."""
    if not manifest.stale_because:
        return {}
    reason = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in manifest.stale_because)
    return {"Warning": f'299 - "stale: {reason[:500]}"', hdrs.AGE: str(manifest.age_seconds)}


def _not_modified(headers: dict[str, str]) -> web.Response:
    response = web.Response(status=304, headers=headers)
    del response.headers[hdrs.CONTENT_TYPE]
    return response
