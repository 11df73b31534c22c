import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.names import RepositoryName
from proxycache.policy.admission import RuleSettings, find_refusal

HUB = "docker.io"
parts = st.from_regex(r"[a-c]{1,3}", fullmatch=True)
repositories = st.lists(parts, min_size=1, max_size=5).map(lambda names: RepositoryName("/".join(names)))
patterns = st.lists(st.sampled_from(["**", "*", "?", "a*", "a", "*b?"]), min_size=1, max_size=5).map("/".join)


def admits(pattern: str, name: str) -> bool:
    return not find_refusal(RuleSettings(allow=(pattern,)), HUB, RepositoryName(name))


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("**", ["a", "library/alpine", "a/b/c"], []),
        ("*", ["alpine"], ["library/alpine"]),
        ("library/alpine", ["library/alpine"], ["alpine", "library/alpine/x", "library/alpines", "x/library/alpine"]),
        ("library/*", ["library/alpine"], ["library", "library/a/b", "librarys/a"]),
        ("library/**", ["library/alpine", "library/a/b"], ["library", "librarys/a", "x/library/a"]),
        ("library/evil*", ["library/evil", "library/evil-twin"], ["library/evil/x", "library/devil"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a", "b", "a/x", "a/xb", "ab", "a/b/c"]),
        ("**/b", ["b", "a/b", "a/x/b"], ["a", "b/a", "ab"]),
        ("a/**/**", ["a/b", "a/b/c"], ["a"]),
        ("app-?", ["app-1"], ["app-", "app-10", "app1"]),
        ("?/b", ["a/b"], ["aa/b", "b"]),
        ("a.b", ["a.b"], ["axb"]),
        ("docker.io/library/alpine", ["library/alpine"], ["alpine"]),
        ("docker.io/**", ["a", "a/b"], []),
        ("docker.io/*", ["a"], ["a/b"]),
        ("ghcr.io/**", [], ["a", "a/b"]),
        ("docker.*/a", ["docker.x/a"], ["a"]),
    ],
)
def test_a_pattern_matches_whole_names(pattern, matched, others):
    assert [name for name in matched + others if admits(pattern, name)] == matched


@pytest.mark.parametrize(
    ("allow", "deny", "rule"),
    [
        (("**",), (), ""),
        (("org/*", "library/*"), ("library/evil*",), ""),
        (("library/*",), ("org/*", "library/alp*"), 'deny "library/alp*"'),
        (("library/alpine",), ("**",), 'deny "**"'),
        (("org/**",), (), "allow"),
        ((), (), "allow"),
    ],
)
def test_the_rule_that_refuses_is_named_and_deny_wins(allow, deny, rule):
    assert find_refusal(RuleSettings(allow=allow, deny=deny), HUB, RepositoryName("library/alpine")) == rule


def test_without_rules_everything_is_admitted():
    assert find_refusal(RuleSettings(), HUB, RepositoryName("a/b/c")) == ""


@given(st.lists(patterns), st.lists(patterns), patterns, repositories)
def test_one_more_denial_never_admits_and_one_more_allowance_never_refuses(allow, deny, more, repository):
    def is_admitted(allow: list[str], deny: list[str]) -> bool:
        return not find_refusal(RuleSettings(allow=tuple(allow), deny=tuple(deny)), HUB, repository)

    before = is_admitted(allow, deny)

    assert before or not is_admitted(allow, [*deny, more])
    assert not before or is_admitted([*allow, more], deny)


@given(patterns, repositories)
def test_a_pattern_means_the_same_below_the_upstreams_name(pattern, repository):
    assert admits(pattern, repository) == admits(f"{HUB}/{pattern}", repository)


def test_a_name_made_to_keep_us_busy_does_not():
    pattern = "/".join(["**", "a*a*a*"] * 20)

    assert not admits(pattern, "/".join(["a" * 5] * 40) + "/b")


@pytest.mark.parametrize("key", ["allow", "deny"])
@pytest.mark.parametrize(
    "pattern", ["", "/", "/a", "a/", "a//b", "Library/*", "a b", "a\n", "[ab]", "a**", "a/**b", "***", "!a", "a/b:1"]
)
def test_what_is_no_pattern_is_refused_and_its_key_named(key, pattern):
    with pytest.raises(ValueError, match=rf"^{key}: [^\n]+$"):
        RuleSettings(**{key: (pattern,)})
