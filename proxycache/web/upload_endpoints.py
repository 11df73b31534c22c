"""Uploads of blobs (distribution-spec end-4, end-5, end-6, end-11, end-13, end-14): parse, one job, render."""

from urllib.parse import quote

from aiohttp import hdrs, web

from proxycache.oci.digest import Digest, digest_of, parse_digest
from proxycache.oci.errors import ChunkOutOfOrder, DigestInvalid, NameInvalid, NameUnknown, Unsupported
from proxycache.oci.upload_session import format_range, parse_algorithm
from proxycache.registry.access import Action, LocalRepository
from proxycache.registry.push_blob import Body
from proxycache.web.error_responses import error_response
from proxycache.web.exchange import Exchange
from proxycache.web.request_body import body_pieces, body_size

_SESSION_METHODS = (hdrs.METH_GET, hdrs.METH_PATCH, hdrs.METH_PUT, hdrs.METH_DELETE)


async def start_upload(exchange: Exchange) -> web.StreamResponse:
    """Begin a session, or take or mount the whole blob at once; who cannot mount gets a session to upload in."""
    repository = await _open(exchange)
    if _session(exchange):
        raise Unsupported("an upload is begun without a session", allowed=_SESSION_METHODS)
    services, query = exchange.services, exchange.request.query
    if "mount" in query:
        mounted = await _mount(exchange, repository)
        if mounted is not None:
            return _created(exchange, mounted)
    elif "digest" in query:
        digest, body = parse_digest(query["digest"]), _body(exchange)
        if body.size != 0 or digest == digest_of(b"", digest.algorithm):
            await services.uploads.push_whole(repository, digest, body)
            return _created(exchange, digest)
    session = await services.uploads.start(repository, parse_algorithm(query.get("digest-algorithm")))
    return web.Response(status=202, headers=_progress(exchange, session, 0))


async def patch_upload(exchange: Exchange) -> web.StreamResponse:
    """Append to a session."""
    repository, session = await _open(exchange), _session(exchange)
    try:
        offset = await exchange.services.uploads.append(repository, session, _body(exchange))
    except ChunkOutOfOrder as error:
        return _out_of_order(exchange, session, error)
    return web.Response(status=202, headers=_progress(exchange, session, offset))


async def put_upload(exchange: Exchange) -> web.StreamResponse:
    """Append the last bytes, if any, and make the session a blob."""
    repository, session = await _open(exchange), _session(exchange)
    digest = parse_digest(exchange.request.query.get("digest", ""))
    body = _body(exchange)
    try:
        await exchange.services.uploads.finish(repository, session, digest, body if body.size != 0 else None)
    except ChunkOutOfOrder as error:
        return _out_of_order(exchange, session, error)
    return _created(exchange, digest)


async def get_upload(exchange: Exchange) -> web.StreamResponse:
    """Say how much of a session is here."""
    repository, session = await _open(exchange), _session(exchange)
    offset = await exchange.services.uploads.find_offset(repository, session)
    return web.Response(status=204, headers=_progress(exchange, session, offset))


async def delete_upload(exchange: Exchange) -> web.StreamResponse:
    """Cancel a session."""
    repository, session = await _open(exchange), _session(exchange)
    await exchange.services.uploads.cancel(repository, session)
    return web.Response(status=204)


async def _open(exchange: Exchange) -> LocalRepository:
    return await exchange.services.access.open_local(exchange.find_route(), exchange.caller, Action.PUSH)


async def _mount(exchange: Exchange, repository: LocalRepository) -> Digest | None:
    """Return what was mounted. What makes no sense is not mounted: clients take any refusal for the end of the push."""
    services, query = exchange.services, exchange.request.query
    try:
        digest = parse_digest(query["mount"])
        source = None
        if "from" in query:  # crane names the registry of what it means by `from` as `origin`
            source = str(services.access.route(query["from"], query.get("origin"), exchange.host).name)
    except (DigestInvalid, NameInvalid, NameUnknown):
        return None
    return digest if await services.mounts.mount(repository, digest, source, exchange.caller) else None


def _session(exchange: Exchange) -> str:
    return exchange.endpoint.rest.removeprefix("uploads").removeprefix("/")


def _body(exchange: Exchange) -> Body:
    request = exchange.request
    return Body(
        pieces=body_pieces(request),
        size=body_size(request),
        content_range=request.headers.get(hdrs.CONTENT_RANGE),
    )


def _blobs_path(exchange: Exchange) -> str:
    return f"/v2/{quote(exchange.endpoint.name)}/blobs/"


def _progress(exchange: Exchange, session: str, offset: int) -> dict[str, str]:
    return {
        hdrs.LOCATION: f"{_blobs_path(exchange)}uploads/{session}",
        hdrs.RANGE: format_range(offset),
        "Docker-Upload-UUID": session,
        "Docker-Distribution-Api-Version": "registry/2.0",
    }


def _created(exchange: Exchange, digest: Digest) -> web.Response:
    headers = {
        hdrs.LOCATION: f"{_blobs_path(exchange)}{digest}",
        "Docker-Content-Digest": str(digest),
        "Docker-Distribution-Api-Version": "registry/2.0",
    }
    return web.Response(status=201, headers=headers)


def _out_of_order(exchange: Exchange, session: str, error: ChunkOutOfOrder) -> web.Response:
    response = error_response(error)
    response.headers.update(_progress(exchange, session, error.offset))
    return response
