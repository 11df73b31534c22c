"""Users, rules, trusted proxies: read strictly, checked when loaded, taken over by a reload."""

import json

import bcrypt
import pytest

from proxycache.config.keys import effective_values
from proxycache.config.model import ServerSettings, parse_address
from proxycache.policy.permissions import AccessRule, Action

HASH = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()


@pytest.fixture
def users(tmp_path) -> str:
    path = tmp_path / "users"
    path.write_text(f"ann:{HASH}\n")
    return f"users_file = {json.dumps(str(path))}\n"


RULES = """
[[auth.access]]
who = "anonymous"

[[auth.access]]
who = "ann"
repositories = ["local/**"]
actions = ["pull", "push", "delete"]
"""


def test_rules_are_tables_of_their_own(load, users):
    auth = load(f"[auth]\n{users}{RULES}").settings.auth

    assert auth.access == (
        AccessRule(who="anonymous"),
        AccessRule(who="ann", repositories=("local/**",), actions=(Action.PULL, Action.PUSH, Action.DELETE)),
    )


def test_rules_are_written_as_they_are_read(load, users):
    settings = load(f"[auth]\n{users}{RULES}").settings
    written = effective_values(settings)["auth", "access"]

    assert written == [
        {"who": "anonymous", "repositories": ["**"], "actions": ["pull"]},
        {"who": "ann", "repositories": ["local/**"], "actions": ["pull", "push", "delete"]},
    ]
    environment = {"PROXYCACHE_AUTH__ACCESS": '[{ who = "anonymous", repositories = ["local/*"] }]'}
    assert load(environment=environment).settings.auth.access == (
        AccessRule(who="anonymous", repositories=("local/*",)),
    )


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[auth]\naccess = "all"', 2, "must be a list such as"),
        ('[[auth.access]]\nwho = "a b"', 1, "who: 'a b' is neither"),
        ('[[auth.access]]\nrepositories = ["**"]', 1, "each rule has the keys who, repositories and actions"),
        ('[[auth.access]]\nwho = "anonymous"\nrepos = ["**"]', 1, "each rule has the keys"),
        ('[[auth.access]]\nwho = "anonymous"\nactions = ["fly"]', 1, "'fly' is no action; there are pull, push"),
        ('[[auth.access]]\nwho = "anonymous"\nrepositories = ["A"]', 1, "repositories: 'A' is no pattern"),
        ('[[auth.access]]\nwho = "ann"', 1, "a rule is for 'ann', but nobody can sign in: users_file is not set"),
        ('[auth]\nusers_file = "/nowhere/users"', 2, "/nowhere/users: must be a file that can be read: No such file"),
        ('[auth]\nuser_file = "x"', 2, "unknown key; did you mean auth.users_file?"),
        ('[server]\ntrusted_proxies = ["10.0.0.0/33"]', 2, "'10.0.0.0/33' is neither an address nor a network"),
        ('[server]\ntrusted_proxies = "10.0.0.1"', 2, "must be a list of texts"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(refusal, text, line, reason):
    told = refusal(text)

    assert told.startswith(f"proxycache.toml:{line}: ")
    assert reason in told
    assert "\n" not in told


def test_a_users_file_that_is_not_right_is_told_by_its_line_and_without_its_content(refusal, users, tmp_path):
    (tmp_path / "users").write_text(f"ann:{HASH}\nbob:hunter2\n")

    told = refusal(f"[auth]\n{users}")

    assert f"{tmp_path}/users:2: the password is not hashed with bcrypt" in told
    assert "hunter2" not in told


def test_a_reload_takes_users_and_rules_but_no_proxies(load, users):
    before = load('[server]\ntrusted_proxies = ["10.0.0.1"]')
    fresh = load(f"[auth]\n{users}{RULES}")

    after = before.reloaded(fresh).settings

    assert (after.auth, after.server.trusted_proxies) == (fresh.settings.auth, ("10.0.0.1",))
    assert before.waiting_for_restart(fresh) == ["server.trusted_proxies"]


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (["127.0.0.1:1"], True),
        (["localhost:1", "[::1]:2", "127.9.9.9:3"], True),
        (["127.0.0.1:1", "0.0.0.0:2"], False),
        (["[::]:1"], False),
        (["192.0.2.7:1"], False),
        (["localhost.example:1"], False),
        (["cache:1"], False),
    ],
)
def test_only_addresses_of_this_machine_keep_others_out(listen, expected):
    settings = ServerSettings(listen=tuple(parse_address(each) for each in listen))

    assert settings.is_loopback_only is expected
