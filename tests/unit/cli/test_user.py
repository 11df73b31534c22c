"""`proxycache user`: what it makes of a file, and what it says; as a process, and within this one."""

import stat
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
from typer.testing import CliRunner, Result

from proxycache.cli.main import app
from proxycache.registry.settings import read_users
from proxycache.registry.users import is_password

CHEAP = bcrypt.hashpw(b"old", bcrypt.gensalt(4)).decode()


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["user", *words], input=stdin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of one user, with comments."""
    path = tmp_path / "users"
    path.write_text(f"# people\nann:{CHEAP}\n\n# machines\n")
    path.chmod(0o644)
    return path


def test_a_user_is_added_to_a_file_that_was_not_there(tmp_path):
    path = tmp_path / "users"

    done = run("add", "bob", "--file", str(path), "--password-stdin", stdin="secret\n")

    assert (done.exit_code, done.stdout, done.stderr) == (0, "added bob\n", "")
    assert is_password("secret", read_users(path)["bob"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_everything_else_in_the_file_stays(file):
    file.chmod(0o640)

    assert run("add", "bob", "--file", str(file), "--password-stdin", stdin="secret").exit_code == 0

    lines = file.read_text().splitlines()
    assert lines[:4] == ["# people", f"ann:{CHEAP}", "", "# machines"]
    assert (lines[4].partition(":")[0], len(lines)) == ("bob", 5)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_password_is_changed_in_its_place(file):
    assert run("passwd", "ann", "--file", str(file), "--password-stdin", stdin="new").exit_code == 0

    assert is_password("new", read_users(file)["ann"])
    assert [line.partition(":")[0] for line in file.read_text().splitlines()] == ["# people", "ann", "", "# machines"]


def test_a_user_is_removed_and_listed_no_more(file):
    before = run("list", "--file", str(file))
    done = run("remove", "ann", "--file", str(file))

    assert (before.stdout, done.stdout, done.exit_code) == ("ann\n", "removed ann\n", 0)
    assert file.read_text() == "# people\n\n# machines\n"
    assert run("list", "--file", str(file)).stdout == ""


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (("add", "ann", "--password-stdin"), "x", 1, "ann is there already; proxycache user passwd sets a password"),
        (("passwd", "bob", "--password-stdin"), "x", 1, "no user bob"),
        (("remove", "bob"), "", 1, "no user bob"),
        (("add", "bob", "--password-stdin"), "\n", 2, "the password is empty"),
        (("add", "bob", "--password-stdin"), "x" * 73, 2, "the password has more than 72 bytes"),
        (("add", "anonymous", "--password-stdin"), "x", 2,
         "'anonymous' cannot be a user's name: letters, digits, and . _ @ + - within"),
        (("add", "a:b", "--password-stdin"), "x", 2,
         "'a:b' cannot be a user's name: letters, digits, and . _ @ + - within"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_one_line_and_changes_nothing(file, words, stdin, code, said):
    before = file.read_bytes()

    done = run(*words, "--file", str(file), stdin=stdin)

    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"proxycache: {said}\n")
    assert file.read_bytes() == before


def test_a_file_that_is_not_right_is_not_touched(file):
    file.write_text("ann:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=\n")

    done = run("add", "bob", "--file", str(file), "--password-stdin", stdin="x")

    assert done.exit_code == 2
    assert done.stderr.startswith(f"proxycache: {file}:1: the password is not hashed with bcrypt")
    assert "fEqNCco3" not in done.stderr
    assert file.read_text().startswith("ann:{SHA}")


def test_the_configured_file_is_meant_also_before_it_is_there(tmp_path):
    (tmp_path / "proxycache.toml").write_text('[auth]\nusers_file = "people"\n')

    command = [sys.executable, "-m", "proxycache", "user", "add", "bob", "--password-stdin"]
    done = subprocess.run(command, input="secret", capture_output=True, text=True, cwd=tmp_path, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "added bob\n", "")
    assert list(read_users(tmp_path / "people")) == ["bob"]


def test_without_a_file_it_is_asked_which(tmp_path):
    config = tmp_path / "proxycache.toml"
    config.write_text("")

    done = run("list", "--config", str(config))

    assert (done.exit_code, done.stderr) == (
        2,
        "proxycache: which file? auth.users_file is not set; name one by --file or --config\n",
    )


@pytest.mark.parametrize(("typed", "code"), [("new\nnew\n", 0), ("new\nother\n", 1)])
def test_a_password_is_typed_twice_and_not_shown(file, typed, code):
    done = run("passwd", "ann", "--file", str(file), stdin=typed)

    assert done.exit_code == code
    assert is_password("new", read_users(file)["ann"]) is (code == 0)
    assert "new" not in done.output


def test_a_folder_that_is_not_there_is_told(tmp_path):
    done = run("add", "bob", "--file", str(tmp_path / "none" / "users"), "--password-stdin", stdin="x")

    assert (done.exit_code, done.stderr) == (2, f"proxycache: {tmp_path}/none: No such file or directory\n")


def test_a_link_stays_one(tmp_path, file):
    link = tmp_path / "link"
    link.symlink_to(file)

    assert run("remove", "ann", "--file", str(link)).exit_code == 0

    assert link.is_symlink()
    assert read_users(file) == {}
