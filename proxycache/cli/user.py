"""`proxycache user`: who can sign in. A running cache notices by itself when the file has changed."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from proxycache.cli.options import ConfigOption
from proxycache.config.load import load_settings
from proxycache.policy.permissions import is_user_name
from proxycache.registry.edit_users import list_users, remove_user, set_user
from proxycache.registry.users import hash_password

NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="A file of users besides auth.users_file.", show_default=False),
]
StdinOption = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin.")]

user = typer.Typer(help="Add, remove and list who can sign in.", no_args_is_help=True)


@user.command("add")
def add(
    name: NameArgument, *, file: FileOption = None, config: ConfigOption = None, password_stdin: StdinOption = False
) -> None:
    """Add a user; exit code 1 if there is one of that name. The file is made where there is none."""
    with _failing_in_one_line():
        path = _find_file(file, config)
        if not is_user_name(name):
            raise ValueError(f"{name!r} cannot be a user's name: letters, digits, and . _ @ + - within")
        if name in list_users(path) or not set_user(path, name, _ask_password(password_stdin), is_new=True):
            _leave(f"{name} is there already; proxycache user passwd sets a password")
    typer.echo(f"added {name}")


@user.command("passwd")
def passwd(
    name: NameArgument, *, file: FileOption = None, config: ConfigOption = None, password_stdin: StdinOption = False
) -> None:
    """Set a user's password; exit code 1 if there is no such user."""
    with _failing_in_one_line():
        path = _find_file(file, config)
        if name not in list_users(path) or not set_user(path, name, _ask_password(password_stdin), is_new=False):
            _leave(f"no user {name}")
    typer.echo(f"changed the password of {name}")


@user.command("remove")
def remove(name: NameArgument, *, file: FileOption = None, config: ConfigOption = None) -> None:
    """Remove a user; exit code 1 if there was none."""
    with _failing_in_one_line():
        if not remove_user(_find_file(file, config), name):
            _leave(f"no user {name}")
    typer.echo(f"removed {name}")


@user.command("list")
def show(*, file: FileOption = None, config: ConfigOption = None) -> None:
    """Print the users, one a line."""
    with _failing_in_one_line():
        for name in list_users(_find_file(file, config)):
            typer.echo(name)


def _find_file(file: Path | None, config: Path | None) -> Path:
    if file is not None:
        return file
    auth = load_settings(config_file=config, environment=dict(os.environ), flags={}, with_users=False).settings.auth
    if not auth.users_file:
        raise ValueError("which file? auth.users_file is not set; name one by --file or --config")
    return auth.users_path


def _ask_password(from_stdin: bool) -> bytes:
    if from_stdin:
        return hash_password(sys.stdin.readline().rstrip("\r\n"))
    return hash_password(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


@contextlib.contextmanager
def _failing_in_one_line() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        _leave(str(error), code=2)
    except OSError as error:
        _leave(f"{error.filename}: {error.strerror}", code=2)


def _leave(text: str, *, code: int = 1) -> None:
    typer.echo(f"proxycache: {text}", err=True)
    raise typer.Exit(code)
