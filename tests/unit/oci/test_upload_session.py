import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.errors import BlobUploadInvalid, ChunkOutOfOrder, SizeInvalid
from proxycache.oci.upload_session import format_range, judge_body, parse_algorithm


@pytest.mark.parametrize(
    ("offset", "content_range", "size", "expected"),
    [
        (0, None, None, None),
        (5, None, 7, 7),
        (5, None, 0, 0),
        (0, "0-9", 10, 10),
        (0, "0-0", 1, 1),
        (5, "5-9", 5, 5),
        (5, "5-9", None, 5),
        (5, " 5-9 ", 5, 5),
        (5, "bytes 5-9/20", 5, 5),
        (5, "bytes 5-9/*", 5, 5),
        (5, "bytes=5-9", 5, 5),
        (5, "Bytes 5-9", 5, 5),
        (10**17, f"{10**17}-{10**17}", 1, 1),
    ],
)
def test_a_body_that_begins_where_the_bytes_end_may_be_appended(offset, content_range, size, expected):
    assert judge_body(offset, content_range, size) == expected


@pytest.mark.parametrize(("offset", "content_range"), [(5, "0-4"), (5, "4-8"), (5, "6-10"), (0, "1-5"), (5, "0-9")])
def test_a_chunk_that_begins_elsewhere_is_out_of_order(offset, content_range):
    with pytest.raises(ChunkOutOfOrder) as caught:
        judge_body(offset, content_range, None)

    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "content_range",
    [
        "",
        "x",
        "5",
        "5-",
        "-5",
        "9-5",
        "5-9-12",
        "5-9/",
        "bytes",
        "items 5-9/10",
        "+5-9",
        "5-٩",
        "5-" + "9" * 19,
        "5 - 9",
    ],
)
def test_a_range_that_makes_no_sense_is_refused(content_range):
    with pytest.raises(BlobUploadInvalid):
        judge_body(5, content_range, 5)


@pytest.mark.parametrize(("content_range", "size"), [("5-9", 4), ("5-9", 6), ("5-9", 0), ("0-9", 5)])
def test_a_range_must_be_as_long_as_the_body(content_range, size):
    with pytest.raises(SizeInvalid):
        judge_body(5, content_range, size)


@given(st.text(max_size=40))
def test_hostile_ranges_get_a_verdict(text):
    with pytest.raises((BlobUploadInvalid, ChunkOutOfOrder, SizeInvalid)):
        judge_body(10**18, text, None)


@pytest.mark.parametrize(("offset", "text"), [(0, "0-0"), (1, "0-0"), (2, "0-1"), (1000, "0-999")])
def test_the_range_says_what_is_there(offset, text):
    assert format_range(offset) == text


@pytest.mark.parametrize(("text", "algorithm"), [(None, "sha256"), ("sha256", "sha256"), ("sha512", "sha512")])
def test_the_algorithm_is_the_one_named(text, algorithm):
    assert parse_algorithm(text) == algorithm


@pytest.mark.parametrize("text", ["", "md5", "SHA256", "sha256 ", "x" * 5000])
def test_other_algorithms_are_refused(text):
    with pytest.raises(BlobUploadInvalid, match="none of sha256, sha512"):
        parse_algorithm(text)
