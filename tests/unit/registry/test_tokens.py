"""Tokens: only ours, only for their time, and never by another algorithm or key."""

import base64
import json

import jwt
import pytest

from proxycache.policy.permissions import Action
from proxycache.registry.tokens import LIFETIME_SECONDS, TokenInvalid, Tokens
from tests.fakes.clock import FakeClock

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
GRANTS = {"local/app": frozenset({Action.PULL, Action.PUSH}), "library/a": frozenset({Action.PULL})}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tokens(clock) -> Tokens:
    return Tokens(KEY, clock)


@pytest.mark.parametrize("user", ["ann", ""])
def test_a_token_says_what_was_written_into_it(tokens, clock, user):
    text = tokens.issue(user, GRANTS, may_list=True)

    for _ in range(2):
        read = Tokens(KEY, clock).read(text)
        assert (read.user, read.grants, read.may_list) == (user, GRANTS, True)


def test_a_token_counts_for_its_time_only_also_once_it_was_read(tokens, clock):
    text = tokens.issue("ann", {}, may_list=False)
    clock.advance(LIFETIME_SECONDS - 0.001)
    tokens.read(text)
    clock.advance(0.001)

    for reader in (tokens, Tokens(KEY, clock)):
        with pytest.raises(TokenInvalid, match="expired"):
            reader.read(text)


def forged(clock, *, key: bytes = KEY, algorithm: str = "HS256", **changes: object) -> str:
    now = int(clock.now())
    claims = {"iss": "proxycache", "aud": "proxycache", "sub": "ann", "iat": now, "exp": now + 100, "access": [],
              "list": False, **changes}  # fmt: skip
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)


def test_what_is_forged_below_would_be_right_otherwise(tokens, clock):
    assert tokens.read(forged(clock)).user == "ann"


@pytest.mark.parametrize(
    "changes",
    [
        {"key": OTHER_KEY},
        {"algorithm": "HS512", "key": KEY * 2},
        {"algorithm": "none", "key": None},
        {"iss": "another"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"sub": None},
        {"sub": 5},
        {"access": None},
        {"access": 5},
        {"access": [{"name": "a"}]},
        {"access": [{"name": "a", "actions": ["fly"]}]},
        {"list": None},
    ],
)
def test_what_we_did_not_write_is_refused(tokens, clock, changes):
    with pytest.raises(TokenInvalid):
        tokens.read(forged(clock, **changes))


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "....", "\x00", "ä.ö.ü", "x" * 10_000, "e30.e30.e30"])
def test_nonsense_is_refused(tokens, text):
    with pytest.raises(TokenInvalid):
        tokens.read(text)


def test_a_token_whose_content_was_exchanged_is_refused(tokens):
    head, body, signature = tokens.issue("ann", {}, may_list=False).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "bob"}).encode()).rstrip(b"=").decode()

    with pytest.raises(TokenInvalid):
        tokens.read(f"{head}.{other}.{signature}")


def test_the_memory_of_tokens_does_not_grow_without_end(tokens, clock, monkeypatch):
    monkeypatch.setattr("proxycache.registry.tokens._MOST_REMEMBERED", 3)

    for number in range(10):
        tokens.read(tokens.issue(f"user{number}", {}, may_list=False))
        with pytest.raises(TokenInvalid):
            tokens.read(f"x{number}")

    assert len(tokens._known) == 3
