import pytest

from proxycache.oci import errors

CASES = [
    (errors.NameInvalid("A"), "'A'"),
    (errors.NameUnknown("a.test", "not configured"), "a.test: not configured"),
    (errors.TagInvalid("-"), "'-'"),
    (errors.ManifestUnknown("library/a", "1"), "library/a: 1"),
    (errors.ManifestInvalid("truncated"), "truncated"),
    (errors.ManifestTooLarge(9), "9 bytes"),
    (errors.ManifestBlobUnknown(["sha256:a", "sha256:b"]), "sha256:a, sha256:b"),
    (errors.BlobUnknown("library/a", "sha256:a"), "sha256:a"),
    (errors.DigestInvalid("sha256:x"), "sha256:x"),
    (errors.SizeInvalid(2, 1), "1 bytes received where 2"),
    (errors.BlobUploadUnknown("abc"), "'abc'"),
    (errors.BlobUploadInvalid("closed"), "closed"),
    (errors.ChunkOutOfOrder(7, 3), "starts at 7, and the next byte is 3"),
    (errors.BodyStalled(60.0), "60 seconds"),
    (errors.StorageFull(), "disk is full"),
    (errors.RangeUnsatisfiable(9), "9 bytes"),
    (errors.Unauthorized(), "authentication required"),
    (errors.Denied(), "denied"),
    (errors.Unsupported("read only"), "read only"),
    (errors.TooManyRequests("slow down", 3.0), "slow down"),
    (errors.UpstreamFailed("docker.io is down", status=502), "docker.io is down"),
    (errors.LoopDetected(), "loop"),
    (errors.OriginsSilent(["docker.io/library/base"]), "cannot ask docker.io/library/base"),
    (errors.Draining(), "shutting down"),
]


@pytest.mark.parametrize(("error", "text"), CASES, ids=lambda value: type(value).__name__)
def test_the_message_is_one_line_that_holds_the_values(error, text):
    assert text in error.message
    assert str(error) == error.message
    assert "\n" not in error.message


def test_every_error_is_among_the_cases():
    assert {type(error) for error, _ in CASES} == set(errors.RegistryError.__subclasses__())


@pytest.mark.parametrize("error_class", [errors.NameInvalid, errors.TagInvalid, errors.DigestInvalid])
def test_hostile_input_comes_back_short_and_escaped(error_class):
    error = error_class("\n" * 10_000)

    assert len(error.message) < 1000
    assert "\n" not in error.message


def test_an_upstreams_failure_carries_the_status_of_its_kind():
    assert errors.UpstreamFailed("slow", status=504).status == 504


def test_a_client_may_be_told_when_to_come_back():
    assert errors.TooManyRequests("slow down", 3.0).retry_after_seconds == 3.0
