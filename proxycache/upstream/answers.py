"""What the status and the headers of an upstream's answer mean."""

from collections.abc import Container
from email.utils import parsedate_to_datetime

import aiohttp

from proxycache.upstream.errors import (
    UpstreamMisbehaved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)

SUCCESS = (200, 206)


def check_answer(
    upstream: str,
    response: aiohttp.ClientResponse,
    *,
    now: float,
    accepted: Container[int] = SUCCESS,
    may_be_encoded: bool = False,
) -> None:
    """Raise the UpstreamError that the answer means, unless it is an accepted one.

    Only where it `may_be_encoded` is the body taken that is said not to be sent as it is.
    """
    check_busy(upstream, response, now=now)
    match response.status:
        case status if status in accepted:
            is_encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
            if is_encoded and not may_be_encoded:
                raise UpstreamMisbehaved(upstream, "an encoded body, which was not asked for")
        case 404:
            raise UpstreamNotFound(upstream)
        case 401 | 403 as status:
            raise UpstreamUnauthorized(upstream, status)
        case status:
            raise UpstreamMisbehaved(upstream, f"unexpected status {status}")


def check_busy(upstream: str, response: aiohttp.ClientResponse, *, now: float) -> None:
    """Raise UpstreamRateLimited or UpstreamUnreachable if the answer says that now is not the time."""
    if response.status == 429:
        raise UpstreamRateLimited(upstream, parse_retry_after(response.headers.get("Retry-After", ""), now))
    if response.status >= 500:
        raise UpstreamUnreachable(upstream, f"status {response.status}")


def parse_retry_after(header: str, now: float) -> float | None:
    """Return how many seconds to wait (RFC 9110, section 10.2.3), None where the header does not say."""
    if header.isascii() and header.isdigit():
        return float(header[:10])
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def parse_remaining(header: str) -> int | None:
    """Return the pulls that remain, of a header like `20;w=21600`; None where it does not say."""
    count = header.partition(";")[0].strip()
    return int(count) if count.isascii() and count.isdigit() and len(count) < 10 else None
