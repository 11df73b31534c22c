import pytest

from proxycache.policy.retry import resume_delay


def test_each_attempt_in_vain_doubles_the_wait_until_the_sixth_ends_it():
    assert [resume_delay(attempts) for attempts in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, None]


@pytest.mark.parametrize("attempts", [6, 7, 10_000])
def test_what_was_given_up_stays_given_up(attempts):
    assert resume_delay(attempts) is None
