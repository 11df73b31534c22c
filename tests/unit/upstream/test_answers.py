"""Statuses and headers become errors and numbers."""

import pytest

from proxycache.oci.digest import digest_of
from proxycache.upstream.answers import parse_remaining, parse_retry_after
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import (
    UpstreamError,
    UpstreamMisbehaved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("Tue, 14 Nov 99999999999 22:14:20 GMT", None),
        ("-5", None),
        ("٣", None),
        ("9" * 400, 9_999_999_999.0),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("header", "remaining"), [("20;w=21600", 20), ("0", 0), ("", None), ("many", None), ("-1", None), ("9" * 400, None)]
)
def test_remaining_pulls(header: str, remaining: int | None) -> None:
    assert parse_remaining(header) == remaining


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (404, UpstreamNotFound),
        (401, UpstreamUnauthorized),
        (403, UpstreamUnauthorized),
        (429, UpstreamRateLimited),
        (500, UpstreamUnreachable),
        (503, UpstreamUnreachable),
        (204, UpstreamMisbehaved),
        (304, UpstreamMisbehaved),
        (418, UpstreamMisbehaved),
    ],
)
async def test_statuses(
    registry: FakeRegistry, client: UpstreamClient, status: int, error_class: type[UpstreamError]
) -> None:
    registry.faults.add(answer(status), times=None)

    with pytest.raises(error_class):
        await client.head_manifest("library/app", "1")


async def test_an_encoded_manifest_is_refused(registry: FakeRegistry, client: UpstreamClient) -> None:
    registry.faults.add(answer(200, b"\x1f\x8b", Content_Encoding="gzip"))

    with pytest.raises(UpstreamMisbehaved, match="encoded"):
        await client.get_manifest("library/app", "1", max_size=1000)


async def test_the_encoding_of_a_blob_does_not_matter(registry: FakeRegistry, client: UpstreamClient) -> None:
    content = b"as it is, whatever a store calls it"
    registry.faults.add(answer(200, content, Content_Encoding="aws-chunked"), times=None)
    digest = digest_of(content)

    assert await client.head_blob("library/app", digest) == len(content)
    async with client.open_blob("library/app", digest) as opened:
        assert b"".join([piece async for piece in opened.pieces()]) == content
