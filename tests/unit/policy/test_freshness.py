import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.names import Tag
from proxycache.policy.freshness import FreshnessSettings, TagRule, TagState, decide_tag, fresh_seconds

VERSIONS = TagRule(match=r"^v?\d+\.\d+\.\d+$", fresh_for=math.inf)
NIGHTLY = TagRule(match="nightly", fresh_for=10.0)
SETTINGS = FreshnessSettings(fresh_for=100.0, max_stale=1000.0, tag_rules=(VERSIONS, NIGHTLY))
times = st.floats(min_value=0, max_value=4e9)


@pytest.mark.parametrize(
    ("tag", "seconds"),
    [("v1.2.3", math.inf), ("1.2.3", math.inf), ("v1.2.3-rc1", 100.0), ("app-nightly-1", 10.0), ("latest", 100.0)],
)
def test_the_first_rule_that_matches_tells_how_long_a_tag_is_fresh(tag, seconds):
    assert fresh_seconds(SETTINGS, Tag(tag)) == seconds


@pytest.mark.parametrize(
    ("tag", "age", "state"),
    [
        ("latest", 0.0, TagState.FRESH),
        ("latest", 99.0, TagState.FRESH),
        ("latest", 100.0, TagState.REVALIDATE),
        ("latest", 1100.0, TagState.REVALIDATE),
        ("latest", 1101.0, TagState.EXPIRED),
        ("nightly", 9.0, TagState.FRESH),
        ("nightly", 11.0, TagState.REVALIDATE),
        ("nightly", 1011.0, TagState.EXPIRED),
        ("v1.2.3", 4e9, TagState.FRESH),
        ("latest", -1.0, TagState.REVALIDATE),
        ("v1.2.3", -1.0, TagState.FRESH),
    ],
)
def test_a_tag_ages(tag, age, state):
    assert decide_tag(SETTINGS, Tag(tag), 5e9, 5e9 + age, offline=False) is state


def test_what_is_fresh_for_no_time_is_always_revalidated():
    settings = FreshnessSettings(fresh_for=0.0)

    assert decide_tag(settings, Tag("latest"), 5.0, 5.0, offline=False) is TagState.REVALIDATE


def test_a_stale_digest_may_be_kept_forever():
    settings = FreshnessSettings(max_stale=math.inf)

    assert decide_tag(settings, Tag("latest"), 0.0, 4e9, offline=False) is TagState.REVALIDATE


@given(times, times)
def test_offline_everything_held_is_fresh(checked_at, now):
    assert decide_tag(SETTINGS, Tag("latest"), checked_at, now, offline=True) is TagState.FRESH


@given(times, times, times)
def test_a_tag_never_grows_younger(checked_at, one, other):
    order = [TagState.FRESH, TagState.REVALIDATE, TagState.EXPIRED]
    earlier, later = sorted([checked_at + one, checked_at + other])

    states = [decide_tag(SETTINGS, Tag("latest"), checked_at, now, offline=False) for now in (earlier, later)]

    assert order.index(states[0]) <= order.index(states[1])


@pytest.mark.parametrize("field", ["fresh_for", "max_stale", "negative_for"])
@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_a_duration_below_nothing_is_refused(field, seconds):
    with pytest.raises(ValueError, match=field):
        FreshnessSettings(**{field: seconds})


@pytest.mark.parametrize(("match", "fresh_for", "reason"), [("(", 1.0, "regular expression"), ("a", -1.0, "fresh_for")])
def test_a_rule_that_makes_no_sense_is_refused(match, fresh_for, reason):
    with pytest.raises(ValueError, match=reason):
        TagRule(match=match, fresh_for=fresh_for)
