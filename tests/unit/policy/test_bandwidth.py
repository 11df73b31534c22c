import pytest

from proxycache.policy.bandwidth import Bandwidth, RateRule


def hours_of(rule: RateRule) -> list[int]:
    return [hour for hour in range(24) if rule.holds_at(hour)]


def test_a_rule_ends_before_its_second_hour():
    assert hours_of(RateRule(hours=(8, 11), rate=1)) == [8, 9, 10]


def test_a_rule_may_span_midnight():
    assert hours_of(RateRule(hours=(22, 2), rate=1)) == [0, 1, 22, 23]
    assert hours_of(RateRule(hours=(22, 24), rate=1)) == hours_of(RateRule(hours=(22, 0), rate=1)) == [22, 23]


def test_a_rule_without_hours_holds_at_all():
    assert hours_of(RateRule(rate=1)) == list(range(24))


def test_the_first_rule_for_an_hour_counts():
    bandwidth = Bandwidth(rules=(RateRule(hours=(8, 18), rate=5), RateRule(hours=(6, 12), rate=9)))

    assert [bandwidth.rate_at(hour) for hour in (5, 6, 8, 12, 18)] == [0, 9, 5, 5, 0]
    assert bandwidth.is_limited


def test_the_highest_rate_is_none_where_an_hour_has_no_limit():
    day = RateRule(hours=(8, 18), rate=5)

    assert Bandwidth(rules=(day,)).highest_rate == 0
    assert Bandwidth(rules=(day, RateRule(rate=9))).highest_rate == 9


def test_without_rules_there_is_no_limit():
    assert not Bandwidth().is_limited
    assert not Bandwidth(rules=(RateRule(rate=0),)).is_limited


@pytest.mark.parametrize("hours", [(8, 8), (24, 3), (3, 25), (-1, 3)])
def test_hours_that_are_none_are_refused(hours):
    with pytest.raises(ValueError, match=f"^hours {hours[0]}-{hours[1]}: "):
        RateRule(hours=hours, rate=1)


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match="rate: must be"):
        RateRule(rate=-1)
