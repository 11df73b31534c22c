"""Files of users: bcrypt only, and what is wrong is told by place, never by content."""

import bcrypt
import pytest

from proxycache.policy.permissions import ALL_ACTIONS, AccessRule
from proxycache.registry.settings import AuthSettings, read_users

HASH = bcrypt.hashpw(b"x", b"$2b$04$" + b"." * 22).decode()  # always the same one: it names tests


def test_comments_and_empty_lines_are_no_users(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"# people\n\nann:{HASH}\n  \nbob:{HASH.replace('$2b$', '$2y$')}\r\n")

    assert read_users(path) == {"ann": HASH.encode(), "bob": HASH.replace("$2b$", "$2y$").encode()}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("cat:{SHA}secretsecret", "the password is not hashed with bcrypt"),
        ("cat:$apr1$secret$secret", "the password is not hashed with bcrypt"),
        ("cat:secret", "the password is not hashed with bcrypt"),
        ("cat:", "the password is not hashed with bcrypt"),
        (f"cat:{HASH}:secret", "the password is not hashed with bcrypt"),
        (f"cat:{HASH.replace('$04$', '$31$')}", "the password is not hashed with bcrypt"),
        (f"cat:{HASH[:-1]}", "the password is not hashed with bcrypt"),
        ("secret", "the password is not hashed with bcrypt"),
        (f"a secret:{HASH}", "must begin with the name of a user and a colon"),
        (f"anonymous:{HASH}", "must begin with the name of a user and a colon"),
        (f":{HASH}", "must begin with the name of a user and a colon"),
        (f"ann:{HASH}", "the user is there already"),
    ],
)
def test_a_line_that_is_not_right_is_told_by_its_place_only(tmp_path, line, reason):
    path = tmp_path / "users"
    path.write_text(f"# people\nann:{HASH}\n{line}\n")

    with pytest.raises(ValueError, match="users:3: ") as refused:
        read_users(path)

    assert str(refused.value).startswith(f"{path}:3: {reason}")
    assert "secret" not in str(refused.value)
    assert HASH[7:] not in str(refused.value)


def test_what_is_no_file_of_users_is_told(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"#" * (4 * 1024 * 1024 + 1))

    for name, reason in (("none", "No such file"), ("", "Is a directory"), ("bytes", "must begin"), ("large", "more")):
        with pytest.raises(ValueError, match=reason):
            read_users(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "is_configured"),
    [
        (AuthSettings(), False),
        (AuthSettings(users_file="users"), True),
        (AuthSettings(access=(AccessRule(who="anonymous"),)), True),
    ],
)
def test_a_file_or_a_rule_makes_rules_decide(settings, is_configured):
    assert settings.is_configured is is_configured


def test_users_without_rules_may_do_everything_and_nobody_else_anything():
    assert AuthSettings(users_file="users").rules == (AccessRule(who="*", actions=ALL_ACTIONS),)
    assert AuthSettings(users_file="users", access=(AccessRule(who="ann"),)).rules == (AccessRule(who="ann"),)


@pytest.mark.parametrize("who", ["ann", "*"])
def test_a_rule_for_users_needs_users(who):
    with pytest.raises(ValueError, match=r"^access: .*users_file is not set"):
        AuthSettings(access=(AccessRule(who=who),))
