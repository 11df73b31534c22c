"""What a client is told when something went wrong: the one place where errors become statuses (DESIGN, "What a
client gets")."""

import msgspec
from aiohttp import web

from proxycache.oci.errors import (
    BlobUnknown,
    BodyStalled,
    Denied,
    ManifestUnknown,
    NameUnknown,
    ProxycacheError,
    RangeUnsatisfiable,
    RegistryError,
    TooManyRequests,
    Unauthorized,
    Unsupported,
    UpstreamFailed,
)
from proxycache.registry.access import RequestStyle
from proxycache.store.errors import BlobCorrupt, StoreBusy, StoreError, StoreFull, UploadBusy
from proxycache.upstream.errors import (
    UpstreamError,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from proxycache.web.exchange import Exchange
from proxycache.web.request_parts import Kind

_DRAINING_RETRY_SECONDS = 1
_LIMITED_RETRY_SECONDS = 60.0


def explain(error: ProxycacheError, exchange: Exchange) -> RegistryError:
    """Return what this client is told about `error`; it depends on how the client found us."""
    match error:
        case RegistryError():
            return error
        case UpstreamError():
            return _explain_upstream(error, exchange)
        case StoreError():
            return UpstreamFailed(_without_paths(error), status=503)
        case _:
            return UpstreamFailed("internal error", status=500)


def _without_paths(error: StoreError) -> str:
    """Return what a client may know of our disk: where what lies on it is the operator's business, and in the log."""
    match error:
        case StoreBusy():
            return "the database of this cache is busy: ask again"
        case StoreFull() | UploadBusy() | BlobCorrupt():
            return str(error)
        case _:
            return "the disk of this cache cannot be used now: ask again"


def _explain_upstream(error: UpstreamError, exchange: Exchange) -> RegistryError:
    style = exchange.route.style if exchange.route else RequestStyle.PREFIX
    match error:
        case UpstreamNotFound():
            return _unknown(exchange, error.reason)
        case UpstreamUnauthorized() if style is not RequestStyle.PREFIX:
            return _unknown(exchange, error.reason)  # so that a mirror's client goes on to the upstream itself
        case UpstreamUnauthorized():
            return Unauthorized(str(error)) if error.status == 401 else Denied(str(error))
        case UpstreamRateLimited():
            is_containerd = style is RequestStyle.NAMESPACE  # it repeats a 429 at once, five times
            return UpstreamFailed(str(error), status=503) if is_containerd else _too_many(error)
        case _:
            is_late = isinstance(error, UpstreamUnreachable) and error.timed_out
            return UpstreamFailed(str(error), status=504 if is_late else 502)


def _too_many(error: UpstreamRateLimited) -> TooManyRequests:
    return TooManyRequests(str(error), _LIMITED_RETRY_SECONDS if error.retry_after is None else error.retry_after)


def _unknown(exchange: Exchange, reason: str) -> RegistryError:
    name = str(exchange.route.name) if exchange.route else exchange.endpoint.name
    match exchange.endpoint.kind:
        case Kind.BLOB:
            return BlobUnknown(name, exchange.endpoint.rest)
        case Kind.MANIFEST:
            return ManifestUnknown(name, exchange.endpoint.rest, reason)
        case _:
            return NameUnknown(name)


def error_response(error: RegistryError) -> web.Response:
    """Return the OCI error body (distribution-spec, "Error Codes"); aiohttp leaves it out for HEAD."""
    entry: dict[str, object] = {"code": error.code, "message": error.message}
    if error.detail is not None:
        entry["detail"] = error.detail
    response = web.Response(
        status=error.status,
        body=msgspec.json.encode({"errors": [entry]}),
        content_type="application/json",
        headers={"Docker-Distribution-Api-Version": "registry/2.0"},
    )
    match error:
        case TooManyRequests(retry_after_seconds=float(seconds)):
            response.headers["Retry-After"] = str(max(1, round(seconds)))
        case RangeUnsatisfiable():
            response.headers["Content-Range"] = f"bytes */{error.size_bytes}"
        case RegistryError(status=503):
            response.headers["Retry-After"] = str(_DRAINING_RETRY_SECONDS)
        case Unsupported():
            response.headers["Allow"] = ", ".join(error.allowed)
        case BodyStalled():
            response.force_close()
        case _:
            pass
    return response
