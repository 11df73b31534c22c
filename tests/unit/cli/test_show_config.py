import json
import tomllib

import pytest
from typer.testing import CliRunner

from proxycache.cli.main import app
from proxycache.cli.show_config import toml_literal

FILE = """\
[server]
listen = ["127.0.0.1:1", "[::1]:2"]
[upstreams."docker.io"]
username = "bob"
tag_rules = [{ match = '^v\\d+"$', fresh_for = "forever" }]
"""


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """Return what `proxycache config` prints for a file."""
    monkeypatch.setenv("PROXYCACHE_UPSTREAMS__DOCKER_IO__PASSWORD", "hunter2")

    def printed(text: str, *options: str) -> str:
        file = tmp_path / "c.toml"
        file.write_text(text)
        result = CliRunner().invoke(app, ["config", "--config", str(file), *options], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    return printed


def test_every_value_is_printed_with_its_source(printed, tmp_path):
    lines = [" ".join(line.split()) for line in printed(FILE, "--workers", "3").splitlines()]

    assert f'listen = ["127.0.0.1:1", "[::1]:2"] # file {tmp_path}/c.toml:2' in lines
    assert "workers = 3 # flag" in lines
    assert 'drain = "8s" # default' in lines
    assert '# password = "***" # environment PROXYCACHE_UPSTREAMS__DOCKER_IO__PASSWORD' in lines


def test_what_is_printed_is_a_configuration_that_means_the_same(printed):
    first = printed(FILE)

    again = printed(first)

    assert tomllib.loads(again) == tomllib.loads(first)


def test_json_holds_the_same(printed, tmp_path):
    entries = json.loads(printed(FILE, "--json"))

    assert entries['upstreams."docker.io".username'] == {"value": "bob", "source": f"file {tmp_path}/c.toml:4"}
    assert entries["server.offline"] == {"value": False, "source": "default"}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_secrets_are_masked(printed, options):
    output = printed(FILE, *options)

    assert "***" in output
    assert "hunter2" not in output


@pytest.mark.parametrize("value", [True, 3, 'a"\\\n', ["a", 1], [{"a b": "c", "d": [False]}], {"a": {"b": 1}}])
def test_a_literal_is_read_back_as_what_it_was(value):
    assert tomllib.loads(f"x = {toml_literal(value)}") == {"x": value}
