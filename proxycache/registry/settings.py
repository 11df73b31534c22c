"""What can be set about users and what they may do; checked when a configuration is loaded."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxycache.policy.permissions import ALL_ACTIONS, ANYBODY, EVERY_USER, AccessRule, is_user_name

# A cost beyond 16 would keep a thread busy for many seconds, each time.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Users and rules. Raises ValueError with one line that names the key."""

    users_file: str = ""
    access: tuple[AccessRule, ...] = ()

    def __post_init__(self) -> None:
        named = next((rule.who for rule in self.access if rule.who != ANYBODY), None)
        if named is not None and not self.users_file:
            raise ValueError(f"access: a rule is for {named!r}, but nobody can sign in: users_file is not set")

    @property
    def is_configured(self) -> bool:
        """Whether rules decide; else who is on this machine may do more than others."""
        return bool(self.users_file or self.access)

    @property
    def rules(self) -> tuple[AccessRule, ...]:
        """The rules; with users and none of them, whoever has signed in may do everything."""
        if self.users_file and not self.access:
            return (AccessRule(who=EVERY_USER, actions=ALL_ACTIONS),)
        return self.access

    @property
    def users_path(self) -> Path:
        """Where the users are; raises ValueError for `~` of somebody who has no home."""
        try:
            return Path(self.users_file).expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from error


def check_users(settings: AuthSettings) -> None:
    """Raise ValueError, naming the key, unless the users can be read."""
    if settings.users_file:
        try:
            read_users(settings.users_path)
        except ValueError as error:
            raise ValueError(f"users_file: {error}") from error


def read_users(path: Path) -> dict[str, bytes]:
    """Return the bcrypt hash of each user in an htpasswd file.

    Raises ValueError with one line that names the file and the line, and nothing of what is written there.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: must be a file that can be read: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path}: more than {_MOST_BYTES} bytes are no file of users")
    users: dict[str, bytes] = {}
    for number, name, hashed in user_lines(content.decode(errors="replace")):
        problem = _find_problem(name, hashed, users)
        if problem:
            raise ValueError(f"{path}:{number}: {problem}")
        users[name] = hashed.encode()
    return users


def user_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number, the user and the hash of each line that is no comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            name, _, hashed = line.strip().partition(":")
            yield number, name, hashed


def _find_problem(name: str, hashed: str, users: Mapping[str, bytes]) -> str:
    if not is_user_name(name):
        return "must begin with the name of a user and a colon"
    if not _BCRYPT.fullmatch(hashed):
        return "the password is not hashed with bcrypt, at a cost of 4 to 16 (proxycache user passwd, htpasswd -B)"
    return "the user is there already" if name in users else ""
