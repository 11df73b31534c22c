import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.links import format_next_link, parse_next_link
from tests.unit.oci.strategies import tags


@pytest.mark.parametrize(
    "header",
    [
        '</v2/a/tags/list?n=2&last=v1>; rel="next"',
        "<tags/list?n=2&last=v1>;rel=next",
        '<https://elsewhere.test/lost/prefix?last=v1&n=2#top>; rel="next"',
        '<?n=2&last=v1>; title="a, <b>; c"; REL="last NEXT"',
        '</v2/a/tags/list?n=2>; rel="first", </v2/a/tags/list?n=2&last=v1>; rel="next"',
    ],
)
def test_only_the_query_of_the_next_page_counts(header):
    assert parse_next_link(header) == {"n": "2", "last": "v1"}


@pytest.mark.parametrize(
    "header", ["", "next", '</a?n=2>; rel="prev"', "</a?n=2>", "</a?n=2>; rel", '</a?n=2>; rel=""']
)
def test_no_next_page_is_none(header):
    assert parse_next_link(header) is None


def test_a_next_page_may_have_no_query():
    assert parse_next_link('</a>; rel="next"') == {}


def test_a_link_is_written_as_the_specification_shows_it():
    assert format_next_link("/v2/a/tags/list", 2, "v1") == '</v2/a/tags/list?n=2&last=v1>; rel="next"'


@given(st.integers(0, 10_000), st.one_of(tags, st.text(min_size=1, max_size=20)))
def test_parsing_undoes_formatting(n, last):
    assert parse_next_link(format_next_link("/v2/a/tags/list", n, last)) == {"n": str(n), "last": last}
