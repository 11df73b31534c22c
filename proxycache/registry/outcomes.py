"""How a job ended, in bytes: so that all who waited, in whatever process, get the same outcome (invariant 5)."""

from typing import Literal

import msgspec

from proxycache.upstream.errors import (
    UpstreamError,
    UpstreamMisbehaved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)


class Failure(msgspec.Struct, frozen=True, tag="failure", omit_defaults=True):
    """Why an upstream did not give what was asked for; `disk` is our own trouble: the upstream may be asked again."""

    kind: Literal["not_found", "unauthorized", "rate_limited", "unreachable", "misbehaved", "disk"]
    upstream: str
    reason: str
    status: int = 0
    retry_after: float | None = None
    timed_out: bool = False
    wrong_sources: tuple[str, ...] = ()

    def error(self) -> UpstreamError:
        """Return it as the error to raise."""
        match self.kind:
            case "not_found":
                return UpstreamNotFound(self.upstream, self.reason)
            case "unauthorized":
                return UpstreamUnauthorized(self.upstream, self.status, self.reason)
            case "rate_limited":
                return UpstreamRateLimited(self.upstream, self.retry_after)
            case "unreachable" | "disk":
                return UpstreamUnreachable(self.upstream, self.reason, timed_out=self.timed_out)
            case "misbehaved":
                return UpstreamMisbehaved(self.upstream, self.reason)


def failure_of(error: UpstreamError) -> Failure:
    """Return what `error` says, as a value."""
    match error:
        case UpstreamNotFound():
            return Failure("not_found", error.upstream, error.reason)
        case UpstreamUnauthorized():
            return Failure("unauthorized", error.upstream, error.reason, status=error.status)
        case UpstreamRateLimited():
            return Failure("rate_limited", error.upstream, error.reason, retry_after=error.retry_after)
        case UpstreamUnreachable():
            return Failure("unreachable", error.upstream, error.reason, timed_out=error.timed_out)
        case _:
            return Failure("misbehaved", error.upstream, error.reason)


class TagAnswer(msgspec.Struct, frozen=True, tag="tag"):
    """Where a tag points, as the upstream said at `checked_at`."""

    digest: str
    media_type: str
    size: int
    checked_at: float


class Held(msgspec.Struct, frozen=True, tag="held"):
    """What was asked for is on disk now."""


Outcome = Failure | TagAnswer | Held


def encode_outcome(outcome: Outcome) -> bytes:
    """Return `outcome` as bytes for other processes."""
    return msgspec.json.encode(outcome)


def decode_outcome(data: bytes) -> Outcome:
    """Return the outcome that `data` holds."""
    outcome: Outcome = msgspec.json.decode(data, type=Outcome)
    return outcome


def decode_failure(data: bytes) -> Failure:
    """Return the failure that `data` holds; one that is being replaced just now is not readable."""
    try:
        return msgspec.json.decode(data, type=Failure)
    except msgspec.DecodeError:
        return Failure("unreachable", "upstream", "the attempt before this one failed")
