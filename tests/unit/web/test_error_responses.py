"""Every error that a request can end in has an answer of its own; none falls through."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request

import proxycache
from proxycache.oci import errors as oci_errors
from proxycache.oci.digest import parse_digest
from proxycache.oci.errors import ProxycacheError, RegistryError
from proxycache.oci.names import RepositoryName
from proxycache.registry.access import RequestStyle, Route
from proxycache.registry.keep_manifest import SchemaOneOnly
from proxycache.store import errors as store_errors
from proxycache.store.errors import StoreError
from proxycache.upstream import errors as upstream_errors
from proxycache.upstream.errors import UpstreamError
from proxycache.web.error_responses import error_response, explain
from proxycache.web.exchange import Exchange
from proxycache.web.request_parts import Endpoint, Kind

PATH = Path("/data/file")
DIGEST = parse_digest("sha256:" + "ab" * 32)
ERRORS: list[ProxycacheError] = [
    oci_errors.NameInvalid("A"),
    oci_errors.NameUnknown("a"),
    oci_errors.TagInvalid("-"),
    oci_errors.ManifestUnknown("a", "1"),
    oci_errors.ManifestInvalid("why"),
    oci_errors.ManifestTooLarge(5),
    oci_errors.ManifestBlobUnknown(["sha256:1"]),
    oci_errors.BlobUnknown("a", "sha256:1"),
    oci_errors.DigestInvalid("x"),
    oci_errors.SizeInvalid(1, 2),
    oci_errors.BlobUploadUnknown("x"),
    oci_errors.BlobUploadInvalid("why"),
    oci_errors.ChunkOutOfOrder(5, 3),
    oci_errors.BodyStalled(60.0),
    oci_errors.StorageFull(),
    oci_errors.RangeUnsatisfiable(5),
    oci_errors.Unauthorized(),
    oci_errors.SignInNeeded(scope="repository:a:pull"),
    oci_errors.Denied(),
    oci_errors.Unsupported(),
    oci_errors.TooManyRequests("why", 5.0),
    oci_errors.UpstreamFailed("why", status=502),
    oci_errors.LoopDetected(),
    oci_errors.OriginsSilent(["docker.io/library/base"]),
    oci_errors.Draining(),
    upstream_errors.UpstreamUnreachable("docker.io", "why"),
    upstream_errors.UpstreamRateLimited("docker.io", None),
    upstream_errors.UpstreamNotFound("docker.io"),
    upstream_errors.UpstreamUnauthorized("docker.io", 401),
    upstream_errors.UpstreamMisbehaved("docker.io", "why"),
    SchemaOneOnly("docker.io"),
    store_errors.FormatTooNew(PATH, found=2, known=1),
    store_errors.StoreDamaged(PATH, "why"),
    store_errors.StoreUnusable(PATH, "why"),
    store_errors.StoreBusy(PATH),
    store_errors.BlobCorrupt(DIGEST),
    store_errors.StoreFull(DIGEST, 5),
    store_errors.UploadBusy("x"),
]


def leaves(root: type[ProxycacheError]) -> Iterator[type[ProxycacheError]]:
    """Yield every class of our tree that is raised, once all modules that define some are loaded."""
    for module in pkgutil.walk_packages(proxycache.__path__, "proxycache."):
        if module.name.endswith("errors") or ".registry." in module.name:
            importlib.import_module(module.name)
    pending = [root]
    while pending:
        found = pending.pop()
        pending += found.__subclasses__()
        if found not in {RegistryError, UpstreamError, StoreError}:
            yield found


def exchange(
    kind: Kind = Kind.MANIFEST, style: RequestStyle | None = RequestStyle.BARE, method: str = "GET"
) -> Exchange:
    request = make_mocked_request(method, "/v2/a/manifests/1")
    made = Exchange(request=request, services=cast("Any", None), endpoint=Endpoint(kind=kind, name="a", rest="1"))
    if style is not None:
        made.route = Route(upstream="docker.io", repository=RepositoryName("library/a"), style=style)
    return made


@pytest.mark.parametrize("root", [RegistryError, UpstreamError, StoreError])
def test_every_error_that_a_request_can_end_in_is_tried_here(root):
    assert set(leaves(root)) <= {type(error) for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_every_error_has_an_answer_of_its_own(error):
    for style in (*RequestStyle, None):
        told = explain(error, exchange(style=style))
        document = json.loads(cast("bytes", error_response(told).body))

        assert told.message != "internal error"
        assert told.status in {400, 401, 403, 404, 405, 408, 413, 416, 429, 502, 503, 504, 507, 508}
        assert (document["errors"][0]["code"], document["errors"][0]["message"]) == (told.code, told.message)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_no_answer_says_where_anything_lies_here(error):
    assert str(PATH.parent) not in explain(error, exchange()).message


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.BLOB, "BLOB_UNKNOWN"),
        (Kind.MANIFEST, "MANIFEST_UNKNOWN"),
        (Kind.TAGS, "NAME_UNKNOWN"),
        (Kind.REFERRERS, "NAME_UNKNOWN"),
    ],
)
async def test_not_found_has_the_code_of_the_thing(kind, code):
    told = explain(upstream_errors.UpstreamNotFound("docker.io"), exchange(kind))

    assert (told.code, told.status) == (code, 404)


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (oci_errors.TooManyRequests("why", 17.4), "Retry-After", "17"),
        (oci_errors.TooManyRequests("why", 0.0), "Retry-After", "1"),
        (oci_errors.RangeUnsatisfiable(5), "Content-Range", "bytes */5"),
        (oci_errors.Draining(), "Retry-After", "1"),
        (oci_errors.Unsupported(), "Allow", "GET, HEAD"),
    ],
)
def test_an_answer_has_the_headers_that_belong_to_its_status(error, header, value):
    assert error_response(error).headers[header] == value


@pytest.mark.parametrize(("seconds", "told"), [(None, "60"), (17.0, "17")])
async def test_a_limit_of_an_upstream_says_when_to_ask_again(seconds, told):
    error = upstream_errors.UpstreamRateLimited("docker.io", seconds)

    assert error_response(explain(error, exchange())).headers["Retry-After"] == told
