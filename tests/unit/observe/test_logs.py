import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxycache.events import (
    BytesFetched,
    FillEnded,
    ImagePushed,
    RecompressedLayer,
    TokenRequested,
    UpstreamAnswered,
)
from proxycache.observe.logs import configure_logging, format_time, log_event, quote_fact
from proxycache.observe.settings import LogSettings

FILL = FillEnded(
    upstream="docker.io",
    repository="library/alpine",
    digest="sha256:ab",
    outcome="published",
    fetched_bytes=5,
    inherited_bytes=0,
    seconds=0.5,
)


class Foreseen(Exception):
    pass


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged; the root logger is given back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def configure(stream):
    def configure(**settings: str) -> logging.Logger:
        configure_logging(LogSettings(**settings), foreseen=(Foreseen,), stream=stream)
        return logging.getLogger("room")

    return configure


def test_a_text_line_has_time_level_event_and_facts(configure, stream):
    configure().info("fill ended", extra={"upstream": "docker.io", "seconds": 0.5, "name_of": "a b"})

    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'INFO fill ended upstream=docker.io seconds=0.5 name_of="a b"\n'


def test_a_json_line_has_the_same(configure, stream):
    configure(format="json").warning("fill ended", extra={"upstream": "docker.io", "seconds": 0.5})

    entry = json.loads(stream.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning",
        "logger": "room",
        "event": "fill ended",
        "upstream": "docker.io",
        "seconds": 0.5,
    }


def test_nothing_below_the_level_is_logged(configure, stream):
    configure(level="warning").info("fill ended")

    assert stream.getvalue() == ""


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_a_fact_cannot_begin_a_line_of_its_own(configure, stream, format_name):
    configure(format=format_name).info("odd\nevent", extra={"reason": "a\nINFO forged\r"})

    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_an_error_of_ours_is_told_without_a_traceback(configure, stream, format_name):
    configure(format=format_name).error("task failed", exc_info=Foreseen("disk full"))

    assert "disk full" in stream.getvalue()
    assert "Traceback" not in stream.getvalue()
    assert "Foreseen" not in stream.getvalue()


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_an_error_that_nobody_foresaw_comes_with_its_traceback(configure, stream, format_name):
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError:
        configure(format=format_name).exception("task failed")

    assert "ZeroDivisionError: oh" in stream.getvalue()


def test_a_fill_is_one_line(configure, stream):
    configure()

    log_event(FILL)

    assert "INFO fill ended upstream=docker.io repository=library/alpine digest=sha256:ab" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_a_push_says_what_was_sent_in_vain_and_why(configure, stream):
    configure()
    layer = RecompressedLayer(digest="sha256:new", size=9, known_as="sha256:old", origin="docker.io/library/base")

    log_event(
        ImagePushed(
            repository="local/app",
            reference="1",
            digest="sha256:m",
            sent_bytes=12,
            borrowed_bytes=0,
            owned_bytes=12,
            could_have_borrowed=(layer,),
        )
    )

    pushed, why = stream.getvalue().splitlines()
    assert "INFO image pushed repository=local/app reference=1" in pushed
    assert "sent_bytes=12 borrowed_bytes=0 owned_bytes=12 could_have_borrowed_bytes=9" in pushed
    assert "INFO layer could have been borrowed repository=local/app digest=sha256:new bytes=9" in why
    assert "it has the content of sha256:old of docker.io/library/base, but other bytes" in why


def test_what_passed_through_the_disk_is_told_by_who_knows_why(configure, stream):
    configure()

    log_event(replace(FILL, outcome="passed_through"))

    assert stream.getvalue() == ""


def test_what_comes_often_is_for_debugging_or_not_told(configure, stream):
    configure()

    log_event(BytesFetched(upstream="docker.io", size=5))
    log_event(TokenRequested(upstream="docker.io", outcome="granted"))
    log_event(UpstreamAnswered(upstream="docker.io", kind="blob", method="GET", status=200, seconds=0.1))

    assert stream.getvalue() == ""


def test_a_refused_token_is_a_warning(configure, stream):
    configure()

    log_event(TokenRequested(upstream="docker.io", outcome="refused"))

    assert "WARNING token requested upstream=docker.io outcome=refused" in stream.getvalue()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a/b?ns=c", "a/b?ns=c"),
        (5, "5"),
        ("", '""'),
        ('a"b', r'"a\"b"'),
        ("a b", '"a b"'),
        ("é\x1b", r'"\u00e9\u001b"'),
    ],
)
def test_a_fact_is_quoted_where_it_must_be(value, shown):
    assert quote_fact(value) == shown


def test_times_have_milliseconds():
    assert format_time(1767225600.0625) == "2026-01-01T00:00:00.062Z"
