"""Scopes, as clients write them and as nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.policy.permissions import Action
from proxycache.registry.permits import Scope
from proxycache.web.token_endpoint import parse_scopes

PULL, PUSH, DELETE = Action


def scope(name: str, *actions: Action) -> Scope:
    return Scope(name=name, actions=frozenset(actions))


@pytest.mark.parametrize(
    ("values", "scopes"),
    [
        (["repository:a:pull"], [scope("a", PULL)]),
        (["repository:a/b:pull,push"], [scope("a/b", PULL, PUSH)]),
        (["repository:a:pull", "repository:b:push"], [scope("a", PULL), scope("b", PUSH)]),
        (["repository:a:pull repository:b:push"], [scope("a", PULL), scope("b", PUSH)]),
        (["repository:a:pull", "repository:a:push"], [scope("a", PULL, PUSH)]),
        (["repository:a:*"], [scope("a", PULL, PUSH, DELETE)]),
        (["repository:host:5000/a:pull"], [scope("host:5000/a", PULL)]),
        (["repository:a:pull,fly"], [scope("a", PULL)]),
        (["repository:a:fly", "registry:catalog:*", "repository(plugin):a:pull", "", "x", ":::"], []),
        (["repository::pull", "repository:pull", f"repository:{'x' * 301}:pull"], []),
    ],
)
def test_scopes_are_repositories_with_actions(values, scopes):
    assert parse_scopes(values) == scopes


def test_no_more_than_a_few_repositories_get_into_one_token():
    assert len(parse_scopes([f"repository:a{number}:pull" for number in range(1000)])) == 16


@given(st.lists(st.text()))
def test_nothing_raises(values):
    assert isinstance(parse_scopes(values), list)
