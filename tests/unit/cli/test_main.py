import sys
from importlib.metadata import version

import pytest

from proxycache.cli.main import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line and return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["proxycache", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_an_error_of_ours_is_one_line_on_stderr_and_exit_code_2(run, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[server]\nliste = 3")

    assert run("config", "--config", str(file)) == (
        2, "", f"proxycache: {file}:2: server.liste = 3: unknown key; did you mean server.listen?\n",
    )  # fmt: skip


def test_wrong_usage_is_exit_code_2(run):
    code, output, _ = run("config", "--nonsense")

    assert (code, output) == (2, "")


def test_the_version_is_printed(run):
    assert run("--version") == (0, f"proxycache {version('proxycache')}\n", "")
