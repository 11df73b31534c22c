"""Paths, callers, ranges and conditions of requests: whatever is written there, nothing raises."""

import pytest
from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.byte_range import ByteRange
from proxycache.oci.digest import parse_digest
from proxycache.web.request_parts import (
    Endpoint,
    Kind,
    caller_of,
    is_unchanged,
    page_size,
    parse_path,
    wanted_range,
)

DIGEST = parse_digest("sha256:" + "ab" * 32)


class Peer:
    """As much of a transport as tells who is at its other end."""

    def __init__(self, host: str) -> None:
        self._host = host

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._host, 1234) if name == "peername" else default

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("path", "kind", "name", "rest"),
    [
        ("/v2/", Kind.BASE, "", ""),
        ("/v2", Kind.BASE, "", ""),
        ("/v2/_catalog", Kind.CATALOG, "", ""),
        ("/v2/a/manifests/1", Kind.MANIFEST, "a", "1"),
        ("/v2/ghcr.io/a/b/manifests/sha256:12", Kind.MANIFEST, "ghcr.io/a/b", "sha256:12"),
        ("/v2/a/blobs/sha256:12", Kind.BLOB, "a", "sha256:12"),
        ("/v2/a/tags/list", Kind.TAGS, "a", ""),
        ("/v2/a/referrers/sha256:12", Kind.REFERRERS, "a", "sha256:12"),
        ("/v2/a/blobs/uploads/", Kind.UPLOAD, "a", "uploads/"),
        ("/v2/a/blobs/uploads", Kind.UPLOAD, "a", "uploads"),
        ("/v2/a/blobs/uploads/some/id", Kind.UPLOAD, "a", "uploads/some/id"),
        ("/-/health", Kind.ADMIN, "", "health"),
        ("/-/token", Kind.SIGN_IN, "", ""),
        ("/-/token/x", Kind.ADMIN, "", "token/x"),
        ("/v2/manifests/manifests/manifests", Kind.MANIFEST, "manifests", "manifests"),
        ("/v2/tags/list/tags/list", Kind.TAGS, "tags/list", ""),
        ("/v2/blobs/blobs/manifests/tags", Kind.MANIFEST, "blobs/blobs", "tags"),
    ],
)
def test_a_path_means_its_endpoint(path, kind, name, rest):
    endpoint = parse_path(path)

    assert (endpoint.kind, endpoint.name) == (kind, name)
    assert endpoint.rest == rest


@pytest.mark.parametrize(
    "path", ["/", "", "/v1/", "/v2//manifests/1", "/v2/a/tags/other", "/v2/a/manifests/", "/V2/", "/-"]
)
def test_a_path_that_means_nothing_is_unknown(path):
    assert parse_path(path).kind in {Kind.UNKNOWN, Kind.MANIFEST}


@given(st.text())
def test_no_path_raises(path):
    assert isinstance(parse_path(path), Endpoint)
    assert isinstance(parse_path(f"/v2/{path}"), Endpoint)


@pytest.mark.parametrize(
    ("peer", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("1.127.0.0", False),
        ("::1234", False),
        ("::ffff:192.0.2.1", False),
        ("", False),
    ],
)
def test_a_caller_is_from_this_machine_by_its_peers_address(peer, is_loopback):
    request = make_mocked_request("GET", "/v2/", headers={"Host": "127.0.0.1:5000"}, transport=Peer(peer))

    assert caller_of(request).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("LocalHost:80", True),
        ("[::1]:5000", True),
        ("127.1.2.3", True),
        ("", False),
        ("cache.example.org", False),
        ("127.0.0.1.example.org", False),
        ("localhost.example.org:5000", False),
        ("192.0.2.1:5000", False),
    ],
)
def test_who_calls_us_by_another_name_is_not_from_this_machine(host, is_loopback):
    request = make_mocked_request("GET", "/v2/", headers={"Host": host}, transport=Peer("127.0.0.1"))

    assert caller_of(request).is_loopback is is_loopback


@pytest.mark.parametrize(("version", "is_loopback"), [(HttpVersion10, False), (HttpVersion11, True)])
def test_who_speaks_as_proxies_do_is_not_from_this_machine(version, is_loopback):
    request = make_mocked_request(
        "GET", "/v2/", headers={"Host": "127.0.0.1:5000"}, version=version, transport=Peer("127.0.0.1")
    )

    assert caller_of(request).is_loopback is is_loopback


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Client-Cert",
        "X-Real-IP",
        "X-Client-IP",
        "X-Original-Forwarded-For",
        "X-Cluster-Client-IP",
        "CF-Connecting-IP",
        "True-Client-IP",
        "X-Envoy-External-Address",
        "Fastly-Client-IP",
        "Via",
    ],
)
def test_whoever_forwards_is_not_from_this_machine(header):
    headers = {"Host": "127.0.0.1:5000", header: "x"}
    request = make_mocked_request("GET", "/v2/", headers=headers, transport=Peer("127.0.0.1"))

    assert not caller_of(request).is_loopback


@pytest.mark.parametrize(
    ("headers", "is_loopback"),
    [
        ({"Origin": "https://page.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"X-Request-Id": "1", "Viable": "1", "User-Agent": "docker/29"}, True),
    ],
)
def test_a_web_page_is_not_this_machine(headers, is_loopback):
    given = {"Host": "127.0.0.1:5000", **headers}
    request = make_mocked_request("POST", "/v2/", headers=given, transport=Peer("127.0.0.1"))

    assert caller_of(request).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, None),
        ("GET", {"Range": "bytes=1-2"}, ByteRange(first=1, last=2)),
        ("GET", {"Range": "bytes=1-2", "If-Range": f'"{DIGEST}"'}, ByteRange(first=1, last=2)),
        ("GET", {"Range": "bytes=1-2", "If-Range": '"other"'}, None),
        ("GET", {"Range": "bytes=1-2", "If-Range": f'W/"{DIGEST}"'}, None),
        ("GET", {"Range": "bytes=1-2", "If-Range": "Tue, 24 Nov 2026 07:00:00 GMT"}, None),
        ("HEAD", {"Range": "bytes=1-2"}, None),
    ],
)
def test_a_range_counts_for_a_get_of_the_same_content(method, headers, expected):
    assert wanted_range(make_mocked_request(method, "/v2/", headers=headers), DIGEST) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        (f'"{DIGEST}"', True),
        (f'W/"{DIGEST}"', True),
        (str(DIGEST), True),
        (f'"a", "{DIGEST}" , "b"', True),
        ("*", True),
        ('"other"', False),
        ("", False),
    ],
)
def test_if_none_match_names_content(header, expected):
    headers = {} if header is None else {"If-None-Match": header}

    assert is_unchanged(make_mocked_request("GET", "/v2/", headers=headers), DIGEST) is expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", None), ("?n=5", 5), ("?n=0", 0), ("?n=-1", None), ("?n=x", None), ("?n=99999999", 10_000), ("?n=٣", None)],
)
def test_a_page_has_a_size_that_makes_sense(query, expected):
    assert page_size(make_mocked_request("GET", f"/v2/a/tags/list{query}")) == expected
