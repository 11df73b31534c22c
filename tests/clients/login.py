"""One user, who may push; everybody may pull."""

import sys
from pathlib import Path

from tests.clients.tools import run

USER = "alice"
PASSWORD = "correct horse"
WRONG_PASSWORD = "battery staple"


def auth_section(directory: Path) -> str:
    """Return what a configuration says of the user, who is put into a file below `directory`."""
    users = directory / "users"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "proxycache",
        "user",
        "add",
        USER,
        "--file",
        users,
        "--password-stdin",
    ]
    run(command, given=f"{PASSWORD}\n")
    return f"""\
[auth]
users_file = "{users}"
[[auth.access]]
who = "anonymous"
actions = ["pull"]
[[auth.access]]
who = "{USER}"
repositories = ["local/**"]
actions = ["pull", "push", "delete"]
"""
