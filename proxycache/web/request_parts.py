"""What a request asks for: one typed value made of its path, its query and its peer. Hostile until parsed."""

import re
from dataclasses import dataclass
from enum import Enum

from aiohttp import hdrs, web

from proxycache.oci.byte_range import ByteRange, parse_range
from proxycache.oci.digest import Digest
from proxycache.oci.links import MOST_LISTED
from proxycache.registry.access import Caller
from proxycache.web.forwarding import Proxies

_V2_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>[^/]+|uploads/.*)")
_NO_PROXIES = Proxies()


class Kind(Enum):
    """Which endpoint of the distribution spec, or of ours."""

    BASE = "base"
    CATALOG = "catalog"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOAD = "upload"
    TAGS = "tags"
    REFERRERS = "referrers"
    SIGN_IN = "sign_in"
    ADMIN = "admin"
    UNKNOWN = "unknown"


_FIXED_PATHS = {"/v2": Kind.BASE, "/v2/": Kind.BASE, "/v2/_catalog": Kind.CATALOG, "/-/token": Kind.SIGN_IN}
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


def caller_of(request: web.BaseRequest, proxies: Proxies = _NO_PROXIES) -> Caller:
    """Return who asks as far as the connection tells."""
    return Caller(is_loopback=proxies.origin_of(request).is_loopback)


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
    return min(int(text), MOST_LISTED) if text.isascii() and text.isdigit() and len(text) < 10 else None
