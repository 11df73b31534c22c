import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.challenge import Challenge, format_challenge, parse_challenges

BEARER = Challenge(scheme="bearer", parameters={"realm": "https://a.test/token?x=1,2", "service": "a.test"})
BASIC = Challenge(scheme="basic", parameters={"realm": "b"})
NEGOTIATE = Challenge(scheme="negotiate")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('Bearer realm="https://a.test/token?x=1,2",service="a.test"', [BEARER]),
        ('Bearer realm="https://a.test/token?x=1,2" , service=a.test', [BEARER]),
        ('BEARER Realm = "https://a.test/token?x=1,2", SERVICE = "a.test"', [BEARER]),
        ('Bearer realm="https://a.test/token?x=1,2",service="a.test",Basic realm="b"', [BEARER, BASIC]),
        ('Basic realm="b", Bearer realm="https://a.test/token?x=1,2",service="a.test"', [BASIC, BEARER]),
        ("Negotiate, Basic realm=b", [NEGOTIATE, BASIC]),
        ("Negotiate abcd==, Basic realm=b", [NEGOTIATE, BASIC]),
        ("Negotiate abcd, Basic realm=b", [NEGOTIATE, BASIC]),
        ("Negotiate", [NEGOTIATE]),
        (", ,Basic realm=b,", [BASIC]),
        ('Basic realm="b", realm="c"', [BASIC]),
    ],
)
def test_challenges_are_told_apart(value, expected):
    assert parse_challenges([value]) == expected


@pytest.mark.parametrize(
    ("value", "realm"),
    [
        (r'Basic realm="a \"quoted\" \\ one"', r'a "quoted" \ one'),
        ('Basic realm="a, Bearer realm=b"', "a, Bearer realm=b"),
        ('Basic realm=""', ""),
        ('Basic realm="never closed', "never closed"),
        ("Basic scope=, realm=b", "b"),
        ("Basic realm=a/b:c", "a/b:c"),
    ],
)
def test_a_value_is_read_as_it_was_meant(value, realm):
    [challenge] = parse_challenges([value])

    assert challenge.parameters["realm"] == realm


@pytest.mark.parametrize("value", ["", ",", 'realm="b"', '"Basic"', "=", "@"])
def test_what_is_no_challenge_is_skipped(value):
    assert parse_challenges([value]) == []


def test_every_header_of_an_answer_counts():
    assert parse_challenges(["Negotiate", 'Basic realm="b"', ""]) == [NEGOTIATE, BASIC]


def test_a_header_that_starts_with_a_parameter_adds_nothing_to_the_one_before():
    assert parse_challenges(["Negotiate", 'realm="b"']) == [NEGOTIATE]


@given(st.text(max_size=40))
def test_any_quoted_text_comes_back_and_hides_nothing_behind_it(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')

    assert parse_challenges([f'Bearer realm="{escaped}",service=s,Basic realm=b']) == [
        Challenge(scheme="bearer", parameters={"realm": text, "service": "s"}),
        BASIC,
    ]


@given(st.text(alphabet='aB"\\=, \t@', max_size=60))
def test_nonsense_raises_nothing(value):
    assert all(challenge.scheme for challenge in parse_challenges([value]))


@pytest.mark.parametrize("challenge", [BEARER, BASIC, NEGOTIATE, Challenge(scheme="a", parameters={"b": 'c"\\,d="'})])
def test_a_challenge_survives_being_written_and_read(challenge):
    assert parse_challenges([format_challenge(challenge)]) == [challenge]


@given(st.text())
def test_no_text_ends_the_header_or_becomes_another_parameter(text):
    written = format_challenge(Challenge(scheme="bearer", parameters={"scope": text, "error": "x"}))

    assert written.isascii()
    assert written.isprintable()
    [read] = parse_challenges([written])
    assert (set(read.parameters), read.parameters["error"]) == ({"scope", "error"}, "x")
