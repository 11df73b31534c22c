import socket
import subprocess
import sys
from pathlib import Path

import pytest


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxycache", "serve", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "c.toml"
    file.write_text(f'[storage]\ndirectory = "{tmp_path}/content"')
    return str(file)


def test_a_port_in_use_is_one_line_and_exit_code_2(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = serve("--config", config, "--listen", address)

    assert result.stderr == f"proxycache: cannot listen on {address}: address already in use\n"
    assert result.returncode == 2


def test_a_directory_that_cannot_be_used_is_one_line_and_exit_code_2(config, tmp_path):
    (tmp_path / "file").touch()

    result = serve("--config", config, "--directory", str(tmp_path / "file" / "below"))

    assert result.stderr.startswith(f"proxycache: cannot use {tmp_path}/file/below")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_a_ca_file_that_cannot_be_read_is_one_line_and_exit_code_2(config):
    with Path(config).open("a") as file:
        file.write('\n[upstreams."docker.io"]\nca_file = "/nowhere/ca.pem"')

    result = serve("--config", config, "--listen", "127.0.0.1:0")

    assert result.stderr.startswith(f'proxycache: {config}:4: upstreams."docker.io".ca_file = "/nowhere/ca.pem": ')
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_a_format_of_a_newer_version_is_one_line_and_exit_code_2(config, tmp_path):
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "format").write_text("2\n")

    result = serve("--config", config)

    assert "has format 2" in result.stderr
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_a_damaged_database_is_one_line_of_log_and_exit_code_2(config, tmp_path):
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "proxycache.db").write_bytes(b"no database at all, " * 100)

    result = serve("--config", config, "--listen", "127.0.0.1:0", "--workers", "1")

    assert "worker cannot serve" in result.stderr
    assert "proxycache.db is damaged" in result.stderr
    assert result.returncode == 2
