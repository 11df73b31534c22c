import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.byte_range import ByteRange, Span, content_range, parse_content_range, parse_range
from proxycache.oci.errors import RangeUnsatisfiable


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, None),
        ("bytes=10-19", 10, 19),
        ("bytes=-5", None, 5),
        ("bytes=-0", None, 0),
        ("Bytes=1-2", 1, 2),
        ("bytes= 1-2 ", 1, 2),
        ("bytes=007-8", 7, 8),
    ],
)
def test_one_range_is_understood(header, first, last):
    assert parse_range(header) == ByteRange(first=first, last=last)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1-2,4-5",
        "bytes=1",
        "bytes=+1-2",
        "bytes=--1",
        "bytes=1 - 2",
        "bytes=1-2\n",
        "items=1-2",
        "1-2",
        "bytes=٣-٤",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_a_header_that_is_no_single_range_is_ignored(header):
    assert parse_range(header) is None


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-", 0, 10),
        ("bytes=0-0", 0, 1),
        ("bytes=9-9", 9, 10),
        ("bytes=3-99", 3, 10),
        ("bytes=-3", 7, 10),
        ("bytes=-99", 0, 10),
    ],
)
def test_a_range_is_cut_to_the_content(header, start, stop):
    assert parse_range(header).resolve(10) == Span(start=start, stop=stop)


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)]
)
def test_a_range_without_a_byte_of_the_content_is_unsatisfiable(header, size):
    with pytest.raises(RangeUnsatisfiable) as caught:
        parse_range(header).resolve(size)

    assert caught.value.size_bytes == size


@given(st.binary(min_size=1, max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_a_range_gives_what_slicing_gives(content, first, length):
    header = f"bytes={first}-{first + length}"
    try:
        span = parse_range(header).resolve(len(content))
    except RangeUnsatisfiable:
        assert content[first : first + length + 1] == b""
        return

    assert content[span.start : span.stop] == content[first : first + length + 1]
    assert span.size == len(content[first : first + length + 1])


@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 100))
def test_parsing_undoes_formatting(start, size, rest):
    span = Span(start=start, stop=start + size)
    total = span.stop + rest

    assert parse_content_range(content_range(span, total)) == (span.start, span.stop, total)


def test_a_total_may_be_unknown():
    assert parse_content_range(" bytes 0-9/* ") == (0, 10, None)


@pytest.mark.parametrize(
    "text", ["", "bytes */10", "bytes 0-/10", "0-9/10", "items 0-9/10", "bytes 5-4/10", "bytes 0-10/10", "bytes 0-1/x"]
)
def test_a_content_range_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="content range"):
        parse_content_range(text)
