"""Outcomes reach other processes as they were."""

import pytest

from proxycache.registry.keep_manifest import SchemaOneOnly
from proxycache.registry.outcomes import (
    Failure,
    Held,
    TagAnswer,
    decode_failure,
    decode_outcome,
    encode_outcome,
    failure_of,
)
from proxycache.upstream.errors import (
    UpstreamError,
    UpstreamMisbehaved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)

ERRORS: list[UpstreamError] = [
    UpstreamUnreachable("docker.io", "gone"),
    UpstreamUnreachable("docker.io", "slow", timed_out=True),
    UpstreamRateLimited("docker.io", None),
    UpstreamRateLimited("docker.io", 17.0),
    UpstreamNotFound("docker.io"),
    UpstreamUnauthorized("docker.io", 401),
    UpstreamUnauthorized("docker.io", 403, "not you"),
    UpstreamMisbehaved("docker.io", "lies"),
    SchemaOneOnly("docker.io"),
]


def facts(error: UpstreamError) -> dict[str, object]:
    return {"text": str(error), **vars(error)}


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_a_failure_is_the_same_error_for_all_who_waited(error):
    copy = decode_failure(encode_outcome(failure_of(error))).error()

    assert isinstance(error, type(copy))
    assert facts(copy) == facts(error)


@pytest.mark.parametrize(
    "outcome",
    [
        Held(),
        TagAnswer("sha256:" + "ab" * 32, "application/json", 5, 1.5),
        Failure("disk", "docker.io", "full", wrong_sources=("https://mirror.example",)),
    ],
)
def test_an_outcome_is_read_as_it_was_written(outcome):
    assert decode_outcome(encode_outcome(outcome)) == outcome


@pytest.mark.parametrize("torn", [b"", b"{", b'{"type":"failure","kind":"not_fo'])
def test_a_failure_that_is_being_written_is_read_as_one(torn):
    assert isinstance(decode_failure(torn).error(), UpstreamUnreachable)


def test_our_own_trouble_is_no_refusal_by_the_upstream():
    assert isinstance(Failure("disk", "docker.io", "full").error(), UpstreamUnreachable)
