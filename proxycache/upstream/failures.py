"""What aiohttp's errors mean for who asked; their own texts may hold signed URLs, and are not passed on."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from proxycache.upstream.addresses import AddressRefused
from proxycache.upstream.errors import UpstreamError, UpstreamMisbehaved, UpstreamUnreachable


@contextmanager
def translated_errors(upstream: str) -> Iterator[None]:
    """Turn what aiohttp raises, while a request is sent or its answer is read, into UpstreamErrors."""
    try:
        yield
    # RuntimeError: aiohttp's word for a connection or a session that was just closed.
    except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
        raise translate_error(upstream, error) from None


def translate_error(upstream: str, error: Exception) -> UpstreamError:
    """Return what an error of a request, or of reading its answer, means."""
    match error:
        case TimeoutError():
            return UpstreamUnreachable(upstream, "timed out", timed_out=True)
        case AddressRefused(host=host) | aiohttp.ClientConnectorDNSError(os_error=AddressRefused(host=host)):
            return UpstreamMisbehaved(upstream, f"leads to {host}, which is not a public address")
        case aiohttp.ClientHttpProxyError(status=status):
            return UpstreamUnreachable(upstream, f"the egress proxy answered {status}")
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError() | RuntimeError():
            return UpstreamUnreachable(upstream, _format_reason(error))
        case _:
            return UpstreamMisbehaved(upstream, "the answer is no HTTP that can be understood")


def _format_reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError(host=host, certificate_error=cause):
            return f"certificate of {host} refused: {getattr(cause, 'verify_message', 'not valid')}"
        case aiohttp.ClientConnectorError(host=host, os_error=cause):
            return f"cannot connect to {host}: {cause.strerror or 'failed'}"
        case aiohttp.ClientPayloadError():
            return "the answer ended early"
        case _:
            return "the connection broke"
