"""GET and HEAD of manifests and blobs (distribution-spec end-2 and end-3): parse, one job, render."""

import os
from typing import TypeAlias

from aiohttp import hdrs, web

from proxycache.oci.byte_range import content_range
from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.names import Reference, parse_reference
from proxycache.registry.access import Action, LocalRepository
from proxycache.registry.pull_blob import BlobStream
from proxycache.registry.pull_manifest import PulledManifest
from proxycache.registry.spool_reader import FilePart
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.web.answers import LARGEST_BODY_BYTES, ReadyAnswer, ReadyResponse, prepare_head
from proxycache.web.exchange import Exchange
from proxycache.web.request_parts import is_unchanged, wanted_range
from proxycache.web.streaming import send_stream

BLOB_TYPE = "application/octet-stream"

Source: TypeAlias = UpstreamRepository | LocalRepository


async def get_manifest(exchange: Exchange) -> web.StreamResponse:
    """Answer GET and HEAD of a manifest."""
    services = exchange.services
    revocations = services.revocations()
    source, manifest = await _pull_manifest(exchange, parse_reference(exchange.endpoint.rest))
    exchange.cache = manifest.cache
    headers = _content_headers(exchange, manifest.digest, manifest.media_type) | _staleness(manifest)
    if is_unchanged(exchange.request, manifest.digest):
        return _not_modified(headers)
    headers[hdrs.CONTENT_LENGTH] = str(manifest.size)
    body = b"" if exchange.is_head else manifest.body or b""
    answer = ReadyAnswer(
        status=200,
        head=prepare_head(200, headers),
        body=body,
        kind="manifest",
        revocations=revocations,
        fresh_until=min(manifest.fresh_until, source.ask_again_at),
        digest=manifest.digest,
    )
    if source.is_for_anybody and manifest.cache == "hit" and not manifest.stale_because:
        services.memory.remember(exchange.memory_key, answer)
    exchange.sent_bytes = len(body)
    return ReadyResponse(answer)


async def get_blob(exchange: Exchange) -> web.StreamResponse:
    """Answer GET and HEAD of a blob; a HEAD never fills."""
    services = exchange.services
    revocations = services.revocations()
    digest = parse_digest(exchange.endpoint.rest)
    source = await open_for_pull(exchange)
    headers = _content_headers(exchange, digest, BLOB_TYPE) | {hdrs.ACCEPT_RANGES: "bytes"}
    if exchange.is_head or is_unchanged(exchange.request, digest):
        size = await _find_size(exchange, source, digest)
        if is_unchanged(exchange.request, digest):
            return _not_modified(headers)
        headers[hdrs.CONTENT_LENGTH] = str(size)
        return _ready_blob(exchange, source, headers, b"", revocations)
    wanted = wanted_range(exchange.request, digest)
    if isinstance(source, LocalRepository):
        stream = await services.local.open_blob(source, digest, wanted)
    else:
        stream = await services.blobs.open(source, digest, wanted)
    try:
        exchange.cache = stream.cache
        small = await _small_body(stream)
        if small is not None:
            headers[hdrs.CONTENT_LENGTH] = str(len(small))
            exchange.sent_bytes = len(small)
            return _ready_blob(exchange, source, headers, small, revocations)
        return await _send_blob(exchange, stream, headers)
    finally:
        await stream.close()


async def open_for_pull(exchange: Exchange, reference: Reference | None = None) -> Source:
    """Return the repository that is asked, if the caller may pull from it."""
    access, route = exchange.services.access, exchange.find_route()
    if route.upstream is None:
        return await access.open_local(route, exchange.caller, Action.PULL)
    return await access.open(route, exchange.caller, reference)


async def _pull_manifest(exchange: Exchange, reference: Reference) -> tuple[Source, PulledManifest]:
    services, with_body = exchange.services, not exchange.is_head
    source = await open_for_pull(exchange, reference)
    if isinstance(source, LocalRepository):
        return source, await services.local.pull_manifest(source, reference, with_body=with_body)
    return source, await services.manifests.pull(source, reference, with_body=with_body)


async def _find_size(exchange: Exchange, source: Source, digest: Digest) -> int:
    is_held = True
    if isinstance(source, LocalRepository):
        pusher = exchange.caller if exchange.services.access.may_push(source.name, exchange.caller) else None
        size = await exchange.services.local.find_size(source, digest, pusher)
    else:
        size, is_held = await exchange.services.blobs.find_size(source, digest)
    exchange.cache = "hit" if is_held else "miss"
    return size


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
    exchange: Exchange, source: Source, headers: dict[str, str], body: bytes, revocations: int
) -> web.StreamResponse:
    answer = ReadyAnswer(
        status=200,
        head=prepare_head(200, headers),
        body=body,
        kind="blob",
        revocations=revocations,
        fresh_until=source.ask_again_at,
        digest=parse_digest(exchange.endpoint.rest),
    )
    # A HEAD of a local blob is a promise to a pusher, which has to be made anew each time.
    is_promise = exchange.is_head and isinstance(source, LocalRepository)
    if source.is_for_anybody and exchange.cache == "hit" and not is_promise:
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


def _content_headers(exchange: Exchange, digest: Digest, media_type: str) -> dict[str, str]:
    return {
        hdrs.CONTENT_TYPE: media_type,
        "Docker-Content-Digest": str(digest),
        "Docker-Distribution-Api-Version": "registry/2.0",
        hdrs.ETAG: f'"{digest}"',
    } | namespace_header(exchange)


def namespace_header(exchange: Exchange) -> dict[str, str]:
    """Say which upstream the content is of, if it is of one (distribution-spec, "Registry Proxying")."""
    upstream = exchange.route.upstream if exchange.route else None
    return {} if upstream is None else {"OCI-Namespace": upstream}


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
