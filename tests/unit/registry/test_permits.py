"""Without rules it counts who is on this machine, and whether anybody else can be heard at all."""

import pytest

from proxycache.oci.errors import Denied
from proxycache.policy.permissions import Action
from proxycache.policy.routing import RoutingTable, choose_route
from proxycache.registry.permits import Caller, Permits
from proxycache.registry.settings import AuthSettings

ROUTING = RoutingTable(
    upstreams=frozenset({"docker.io"}),
    default_upstream="docker.io",
    local_namespaces=("local",),
    own_hosts=frozenset(),
)
LOCAL = choose_route(ROUTING, "local/app", None)
HERE, ELSEWHERE = Caller(is_loopback=True), Caller(is_loopback=False)


def is_permitted(permits: Permits, caller: Caller, action: Action) -> bool:
    try:
        permits.require(caller, LOCAL, action)
    except Denied:
        return False
    return True


@pytest.mark.parametrize(
    ("caller", "is_loopback_only", "may_change"),
    [(HERE, True, True), (HERE, False, False), (ELSEWHERE, True, False), (ELSEWHERE, False, False)],
)
def test_without_rules_only_who_is_here_changes_anything_while_nobody_else_is_heard(
    caller, is_loopback_only, may_change
):
    permits = Permits(AuthSettings(), ROUTING, is_loopback_only=is_loopback_only)

    permitted = [is_permitted(permits, caller, action) for action in (Action.PULL, Action.PUSH, Action.DELETE)]

    assert permitted == [True, may_change, may_change]
    assert permits.may_read_private(caller, "docker.io/a") is caller.is_loopback


@pytest.mark.parametrize(
    ("caller", "reason"), [(HERE, "can be reached from elsewhere"), (ELSEWHERE, "on this machine")]
)
def test_the_reason_says_what_would_help(caller, reason):
    with pytest.raises(Denied, match=rf"^local/app: .*{reason}.*\[auth\]"):
        Permits(AuthSettings(), ROUTING, is_loopback_only=False).require(caller, LOCAL, Action.PUSH)
