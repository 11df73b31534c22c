"""Lists: tags (distribution-spec end-8), referrers (end-12) and the catalog of what is held."""

from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import hdrs, web

from proxycache.oci import media_types
from proxycache.oci.digest import parse_digest
from proxycache.oci.links import format_next_link
from proxycache.registry.access import LocalRepository
from proxycache.registry.list_referrers import Window
from proxycache.web.exchange import Exchange
from proxycache.web.pull_endpoints import Source, namespace_header, open_for_pull
from proxycache.web.request_parts import page_size

_DEFAULT_PAGE = 100


async def get_tags(exchange: Exchange) -> web.StreamResponse:
    """Answer with a page of tags; its Link leads back here, whatever the upstream's led to."""
    query = exchange.request.query
    source = await open_for_pull(exchange)
    n, last = page_size(exchange.request), query.get("last")
    if isinstance(source, LocalRepository):
        tags = await exchange.services.tags.list_local(source, n=n, last=last)
    else:
        tags = await exchange.services.tags.list_tags(source, n=n, last=last)
    exchange.cache = _cache_word(source, tags.stale_because)
    response = _json_response(exchange, {"name": exchange.endpoint.name, "tags": tags.tags})
    response.headers.update(namespace_header(exchange))
    if tags.stale_because:
        response.headers["Warning"] = '299 - "only the tags that are held: the upstream cannot be asked"'
    if tags.next_last is not None:
        n = tags.next_n or page_size(exchange.request) or _DEFAULT_PAGE
        link = format_next_link(quote(exchange.request.path, safe="/:"), n, tags.next_last)
        namespace = query.get("ns")
        response.headers[hdrs.LINK] = link if namespace is None else _with_namespace(link, namespace)
    return response


async def get_referrers(exchange: Exchange) -> web.StreamResponse:
    """Answer with an index of what refers to a digest; one that nothing refers to has an empty one."""
    subject = parse_digest(exchange.endpoint.rest)
    query = exchange.request.query
    source = await open_for_pull(exchange, subject)
    artifact_type = query.get("artifactType", "")
    lister = exchange.services.referrers
    window = Window(n=page_size(exchange.request), last=query.get("last", ""))
    if isinstance(source, LocalRepository):
        referrers = await lister.list_local(source, subject, artifact_type, window)
    else:
        referrers = await lister.list_referrers(source, subject, artifact_type, window)
    exchange.cache = _cache_word(source, referrers.stale_because)
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": referrers.descriptors}
    response = _json_response(exchange, document, content_type=media_types.OCI_INDEX)
    response.headers.update(namespace_header(exchange))
    if artifact_type:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    if referrers.stale_because:
        response.headers["Warning"] = '299 - "stale: the upstream cannot be asked"'
    if referrers.next_last is not None:
        more = {name: query[name] for name in ("artifactType", "ns") if query.get(name)}
        path = quote(exchange.request.path, safe="/:")
        count = window.n or len(referrers.descriptors)
        response.headers[hdrs.LINK] = format_next_link(path, count, referrers.next_last, **more)
    return response


async def get_catalog(exchange: Exchange) -> web.StreamResponse:
    """Answer with a page of the repositories of which something is held, by their canonical names."""
    n = page_size(exchange.request)
    last = exchange.request.query.get("last")
    page = await exchange.services.repositories.list_names(exchange.caller, n=n, last=last)
    exchange.cache = "hit"
    response = _json_response(exchange, {"repositories": page.names})
    if page.next_last is not None and page.next_n is not None:
        response.headers[hdrs.LINK] = format_next_link("/v2/_catalog", page.next_n, page.next_last)
    return response


def _cache_word(source: Source, stale_because: str) -> str:
    if isinstance(source, LocalRepository):
        return "hit"
    return "stale" if stale_because else "miss"


def _json_response(exchange: Exchange, document: Any, *, content_type: str = "application/json") -> web.Response:
    body = msgspec.json.encode(document)
    exchange.sent_bytes = 0 if exchange.is_head else len(body)
    return web.Response(
        body=body, content_type=content_type, headers={"Docker-Distribution-Api-Version": "registry/2.0"}
    )


def _with_namespace(link: str, namespace: str) -> str:
    target, _, rest = link.partition(">")
    return f"{target}&ns={quote(namespace, safe='')}>{rest}"
