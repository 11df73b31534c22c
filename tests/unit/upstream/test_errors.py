"""Errors carry their values and say them in one line."""

from proxycache.upstream import errors


def test_the_tree_in_the_module_names_every_class() -> None:
    for error_class in errors.UpstreamError.__subclasses__():
        assert f" {error_class.__name__} " in errors.__doc__


def test_errors_name_the_upstream_and_the_reason() -> None:
    limited = errors.UpstreamRateLimited("docker.io", 12.4)

    assert str(limited) == "docker.io: too many requests, asks to wait 12 s"
    assert (limited.upstream, limited.retry_after) == ("docker.io", 12.4)
    assert str(errors.UpstreamRateLimited("docker.io", None)) == "docker.io: too many requests"
    assert str(errors.UpstreamUnauthorized("docker.io", 403)) == "docker.io: access denied"
    assert errors.UpstreamUnreachable("docker.io", "timed out", timed_out=True).timed_out
