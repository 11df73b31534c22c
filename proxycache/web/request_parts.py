"""What a request asks for: one typed value made of its path, its query and its peer. Hostile until parsed."""

import re
from dataclasses import dataclass
from enum import Enum

from aiohttp import HttpVersion11, hdrs, web

from proxycache.oci.byte_range import ByteRange, parse_range
from proxycache.oci.digest import Digest
from proxycache.registry.access import Caller

_V2_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>[^/]+|uploads/.*)")
_LOOPBACK = ("127.", "::ffff:127.")
_LOOPBACK_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)
_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_MOST_LISTED = 10_000


class Kind(Enum):
    """Which endpoint of the distribution spec, or of ours."""

    BASE = "base"
    CATALOG = "catalog"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOAD = "upload"
    TAGS = "tags"
    REFERRERS = "referrers"
    ADMIN = "admin"
    UNKNOWN = "unknown"


_FIXED_PATHS = {"/v2": Kind.BASE, "/v2/": Kind.BASE, "/v2/_catalog": Kind.CATALOG}
_NAMED_KINDS = {"manifests": Kind.MANIFEST, "blobs": Kind.BLOB, "referrers": Kind.REFERRERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A parsed path; `name` and `rest` are still what the client wrote."""

    kind: Kind
    name: str = ""
    rest: str = ""


def parse_path(path: str) -> Endpoint:
    """Return what a (decoded) path means; never raises."""
    if path in _FIXED_PATHS:
        return Endpoint(kind=_FIXED_PATHS[path])
    if path.startswith("/-/"):
        return Endpoint(kind=Kind.ADMIN, rest=path[3:])
    match = _V2_PATH.fullmatch(path)
    if match is None:
        return Endpoint(kind=Kind.UNKNOWN)
    name, kind, rest = match["name"], match["kind"], match["rest"]
    if kind == "tags":
        return Endpoint(kind=Kind.TAGS if rest == "list" else Kind.UNKNOWN, name=name)
    is_upload = kind == "blobs" and (rest == "uploads" or rest.startswith("uploads/"))
    return Endpoint(kind=Kind.UPLOAD if is_upload else _NAMED_KINDS[kind], name=name, rest=rest)


def caller_of(request: web.BaseRequest) -> Caller:
    """Return who asks: a loopback peer that forwards for nobody is from this machine.

    A proxy may not say that it forwards. Then HTTP/1.0, which no registry client speaks, gives it away, or a Host
    that it passes on, which also stops web pages that had their name resolved to this machine.
    """
    peer = request.remote or ""
    is_local = peer == "::1" or peer.startswith(_LOOPBACK)
    is_forwarded = request.version < HttpVersion11 or any(header in request.headers for header in _FORWARDING)
    is_by_own_name = _LOOPBACK_HOST.fullmatch(request.headers.get(hdrs.HOST, "")) is not None
    return Caller(is_loopback=is_local and is_by_own_name and not is_forwarded)


def wanted_range(request: web.BaseRequest, digest: Digest) -> ByteRange | None:
    """Return the range to send; an If-Range for other content takes it back (RFC 9110, section 13.1.5)."""
    header = request.headers.get(hdrs.RANGE)
    if header is None or request.method != hdrs.METH_GET:
        return None
    condition = request.headers.get(hdrs.IF_RANGE)
    if condition is not None and condition.strip('"') != str(digest):
        return None
    return parse_range(header)


def is_unchanged(request: web.BaseRequest, digest: Digest) -> bool:
    """Tell whether If-None-Match names this content (RFC 9110, section 13.1.2)."""
    header = request.headers.get(hdrs.IF_NONE_MATCH)
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or str(digest) in tags


def page_size(request: web.BaseRequest) -> int | None:
    """Return `n`, None where it is missing or makes no sense; never more than we list at once."""
    text = request.query.get("n", "")
    return min(int(text), _MOST_LISTED) if text.isascii() and text.isdigit() and len(text) < 10 else None
