"""Rules: for whom, about what, and what each of the three questions says of them."""

import pytest

from proxycache.policy.permissions import (
    AccessRule,
    Action,
    is_allowed,
    is_allowed_as_user,
    is_for_users,
    is_user_name,
)

PULL, PUSH = Action.PULL, Action.PUSH
RULES = (
    AccessRule(who="anonymous", repositories=("docker.io/**",)),
    AccessRule(who="*", repositories=("ghcr.io/org/*", "local/*")),
    AccessRule(who="ann", repositories=("local/ann/**",), actions=(PULL, PUSH)),
)


@pytest.mark.parametrize(
    ("name", "action", "nobody", "ann", "bob"),
    [
        ("docker.io/library/alpine", PULL, True, True, True),
        ("docker.io/library/alpine", PUSH, False, False, False),
        ("ghcr.io/org/app", PULL, False, True, True),
        ("ghcr.io/org/app/part", PULL, False, False, False),
        ("local/app", PULL, False, True, True),
        ("local/ann/app", PUSH, False, True, False),
        ("local/ann", PULL, False, True, True),
        ("local/ann", PUSH, False, False, False),
        ("local/ann/app", Action.DELETE, False, False, False),
        ("quay.io/a", PULL, False, False, False),
    ],
)
def test_each_is_allowed_what_a_rule_for_them_says(name, action, nobody, ann, bob):
    assert [is_allowed(RULES, user, name, action) for user in ("", "ann", "bob")] == [nobody, ann, bob]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("docker.io/a", (False, False, False)), ("local/app", (False, True, True)), ("local/ann/a", (False, True, False))],
)
def test_what_is_private_needs_a_rule_that_is_not_for_everybody(name, expected):
    assert tuple(is_allowed_as_user(RULES, user, name, PULL) for user in ("", "ann", "bob")) == expected


@pytest.mark.parametrize(
    ("name", "action", "helps"),
    [("docker.io/a", PULL, False), ("local/app", PULL, True), ("local/app", PUSH, False), ("local/ann/a", PUSH, True)],
)
def test_signing_in_may_help_where_a_rule_is_for_some_user(name, action, helps):
    assert is_for_users(RULES, name, action) is helps


def test_nobody_may_do_anything_without_a_rule():
    assert not is_allowed((), "ann", "docker.io/a", PULL)


@pytest.mark.parametrize("user", ["anonymous", "*"])
def test_a_word_for_many_is_no_user(user):
    rules = (AccessRule(who="*", repositories=("local/a",)),)

    assert not is_user_name(user)
    assert not is_allowed(rules, "", "local/a", PULL)


@pytest.mark.parametrize("name", ["ann", "a", "ann@example.org", "build-1", "A.b_c+d", "x" * 128])
def test_names_of_users(name):
    assert is_user_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "a\n", "ä", "x" * 129, "#a", "a/b", "**"])
def test_what_is_no_name_of_a_user(name):
    assert not is_user_name(name)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"who": "a b"}, 'who: \'a b\' is neither the name of a user, nor "*", nor "anonymous"'),
        ({"repositories": ("Local/**",)}, "repositories: 'Local/**' is no pattern"),
        ({"repositories": ()}, "the rule for 'ann' names no repositories or no actions"),
        ({"actions": ()}, "the rule for 'ann' names no repositories or no actions"),
    ],
)
def test_a_rule_that_makes_no_sense_says_why(changes, reason):
    with pytest.raises(ValueError, match="^" + reason.replace("*", r"\*")):
        AccessRule(**{"who": "ann", **changes})
