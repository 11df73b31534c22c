"""Why another registry could not give what it was asked for.

    UpstreamError                  .upstream, .reason
    ├── UpstreamUnreachable        no usable answer: connect, TLS, timeout (.timed_out), reset, 5xx
    ├── UpstreamRateLimited        429 (.retry_after seconds, where it said so)
    ├── UpstreamNotFound           404
    ├── UpstreamUnauthorized       401 or 403 (.status)
    └── UpstreamMisbehaved         an answer that breaks the protocol: digest, length, range, JSON, redirect

The text is one line for people. It never holds a credential, a token or the query of a URL.
"""

from proxycache.oci.errors import ProxycacheError


class UpstreamError(ProxycacheError):
    """An upstream did not give what it was asked for."""

    def __init__(self, upstream: str, reason: str) -> None:
        super().__init__(f"{upstream}: {reason}")
        self.upstream = upstream
        self.reason = reason


class UpstreamUnreachable(UpstreamError):
    """It could not be asked, or its answer broke off; asking again later may help."""

    def __init__(self, upstream: str, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(upstream, reason)
        self.timed_out = timed_out


class UpstreamRateLimited(UpstreamError):
    """It was asked too often."""

    def __init__(self, upstream: str, retry_after: float | None) -> None:
        wait = "" if retry_after is None else f", asks to wait {retry_after:.0f} s"
        super().__init__(upstream, f"too many requests{wait}")
        self.retry_after = retry_after


class UpstreamNotFound(UpstreamError):
    """It does not have what was asked for."""

    def __init__(self, upstream: str, reason: str = "not found") -> None:
        super().__init__(upstream, reason)


class UpstreamUnauthorized(UpstreamError):
    """It does not give this to us: `status` 401 (who are you?) or 403 (not you)."""

    def __init__(self, upstream: str, status: int, reason: str = "") -> None:
        super().__init__(upstream, reason or ("authentication required" if status == 401 else "access denied"))
        self.status = status


class UpstreamMisbehaved(UpstreamError):
    """It answered what no registry should."""
