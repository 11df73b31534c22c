import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("4MiB", 4 * 1024**2),
        ("50GB", 50 * 1000**3),
        ("1.5KiB", 1536),
        (" 2 TiB ", 2 * 1024**4),
    ],
)
def test_sizes_are_read_with_their_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "4 mib", "-1B", "4Mi", "1e3", "0.3B", "4MiB5"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r"not a (size|whole number)"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("250ms", 0.25),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("30d", 2592000.0),
        ("1.5s", 1.5),
        ("forever", math.inf),
    ],
)
def test_times_are_read_with_their_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 minutes", "-5m", "5m ago", "inf", "5M"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="not a time"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_a_size_survives_being_written(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=10**12).map(lambda milliseconds: milliseconds / 1000) | st.just(math.inf))
def test_a_time_survives_being_written(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)
