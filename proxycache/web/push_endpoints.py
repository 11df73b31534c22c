"""PUT and DELETE of manifests, DELETE of blobs (distribution-spec end-7, end-9, end-10): parse, one job, render."""

from urllib.parse import quote

from aiohttp import hdrs, web

from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.errors import ManifestTooLarge
from proxycache.oci.names import parse_reference, parse_tag
from proxycache.registry.access import Action
from proxycache.registry.push_manifest import PushRequest
from proxycache.web.exchange import Exchange
from proxycache.web.request_body import read_body


async def put_manifest(exchange: Exchange) -> web.StreamResponse:
    """Take a manifest in under a tag, or by digest under the tags that `tag` parameters name."""
    services, request = exchange.services, exchange.request
    reference = parse_reference(exchange.endpoint.rest)
    tags = [parse_tag(tag) for tag in request.query.getall("tag", [])]
    repository = await services.access.open_local(exchange.find_route(), exchange.caller, Action.PUSH)
    body = await read_body(request, most_bytes=services.max_manifest_size)
    if body is None:
        raise ManifestTooLarge(services.max_manifest_size)
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    push = PushRequest(reference=reference, body=body, content_type=content_type, tags=tags)
    pushed = await services.manifest_pusher.push(repository, push, exchange.caller)
    response = web.Response(status=201)
    response.headers[hdrs.LOCATION] = f"/v2/{quote(exchange.endpoint.name)}/manifests/{pushed.digest}"
    response.headers["Docker-Content-Digest"] = str(pushed.digest)
    if pushed.subject is not None:
        response.headers["OCI-Subject"] = str(pushed.subject)
    for tag in tags:
        response.headers.add("OCI-Tag", tag)
    return response


async def delete_manifest(exchange: Exchange) -> web.StreamResponse:
    """Delete a tag, or a manifest with all its tags."""
    services = exchange.services
    reference = parse_reference(exchange.endpoint.rest)
    repository = await services.access.open_local(exchange.find_route(), exchange.caller, Action.DELETE)
    if isinstance(reference, Digest):
        await services.remover.remove_manifest(repository, reference)
    else:
        await services.remover.remove_tag(repository, reference)
    return web.Response(status=202)


async def delete_blob(exchange: Exchange) -> web.StreamResponse:
    """Delete a blob from a repository."""
    digest = parse_digest(exchange.endpoint.rest)
    repository = await exchange.services.access.open_local(exchange.find_route(), exchange.caller, Action.DELETE)
    await exchange.services.remover.remove_blob(repository, digest)
    return web.Response(status=202)
