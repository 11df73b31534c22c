"""Settings are checked when they are made, and secrets do not show themselves."""

import math
from pathlib import Path

import pytest

from proxycache.upstream.settings import Secret, UpstreamSettings, check_files, find_egress_proxies

HUB = {"name": "docker.io", "url": "https://registry-1.docker.io"}


def test_defaults_are_complete() -> None:
    settings = UpstreamSettings(**HUB)

    assert (settings.connect_timeout, settings.answer_within, settings.stall_timeout) == (5.0, 10.0, 30.0)
    assert settings.visibility == "auto"


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "https://[::1]:5000", "https://corp.example/prefix/of"])
def test_registry_urls(url: str) -> None:
    assert UpstreamSettings(name="corp", url=url, mirrors=(url,)).url == url


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("url", {"url": ""}),
        ("url", {"url": "registry.example"}),
        ("url", {"url": "ftp://registry.example"}),
        ("url", {"url": "https://"}),
        ("url", {"url": "https://registry.example:port"}),
        ("url", {"url": "https://registry.example/?a=b"}),
        ("mirrors", {"mirrors": ("https://good.example", "file:///etc/passwd")}),
        ("username", {"username": "ann"}),
        ("username", {"password_file": "/run/secrets/hub"}),
        ("password_file", {"username": "ann", "password": Secret("x"), "password_file": "/run/secrets/hub"}),
        ("credential_helper", {"username": "ann", "password": Secret("x"), "credential_helper": "ecr-login"}),
        ("credential_helper", {"credential_helper": "../../bin/sh"}),
        ("visibility", {"visibility": "secret"}),
        ("token_realm", {"token_realm": "https://auth.example/token"}),
        ("token_realm", {"token_realm": "auth.example:5001"}),
        ("connect_timeout", {"connect_timeout": 0.0}),
        ("answer_within", {"answer_within": -1.0}),
        ("stall_timeout", {"stall_timeout": math.inf}),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(key: str, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: [^\n]+$"):
        UpstreamSettings(**{**HUB, **changes})


def test_a_password_in_a_url_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match=r"^url: ") as refused:
        UpstreamSettings(name="corp", url="https://ann:hunter2@corp.example")

    assert "hunter2" not in str(refused.value)


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("hunter2")

    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {UpstreamSettings(**HUB, username='ann', password=secret)!r}"
    assert (secret == Secret("hunter2"), secret == "hunter2", bool(Secret())) == (True, False, False)


@pytest.mark.parametrize("key", ["password_file", "docker_config", "ca_file"])
def test_a_file_that_cannot_be_read(tmp_path: Path, key: str) -> None:
    changes = {key: str(tmp_path / "nowhere")} | ({"username": "ann"} if key == "password_file" else {})

    with pytest.raises(ValueError, match=rf"^{key}: must be a file [^\n]+: No such file or directory$"):
        check_files(UpstreamSettings(**HUB, **changes))


def test_a_home_that_nobody_has() -> None:
    with pytest.raises(ValueError, match=r"^docker_config: must be a file [^\n]+home directory[^\n]*$"):
        check_files(UpstreamSettings(**HUB, docker_config="~nobody-has-this-name/config.json"))


def test_a_ca_file_without_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")

    with pytest.raises(ValueError, match=r"^ca_file: must be a file of PEM certificates: [^\n]+$"):
        check_files(UpstreamSettings(**HUB, ca_file=str(tmp_path / "ca.pem")))


@pytest.mark.parametrize(
    ("environment", "proxies"),
    [
        ({}, {}),
        ({"HTTPS_PROXY": "proxy.example:3128"}, {"https": "http://proxy.example:3128"}),
        ({"https_proxy": "https://a.example", "HTTPS_PROXY": "http://b.example"}, {"https": "https://a.example"}),
        ({"http_proxy": "", "HTTP_PROXY": "http://b.example"}, {}),
    ],
)
def test_proxies_in_the_environment(environment: dict[str, str], proxies: dict[str, str]) -> None:
    assert find_egress_proxies(environment) == proxies


@pytest.mark.parametrize(
    "address", ["socks5://ann:hunter2@proxy.example:1080", "http://ann:hunter2@", "http://ann:hunter2@proxy.example:x"]
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "http_proxy"])
def test_a_proxy_that_cannot_be_used_is_refused_without_being_shown(variable: str, address: str) -> None:
    with pytest.raises(ValueError, match=rf"^{variable}: must be http://") as refused:
        find_egress_proxies({variable: address})

    assert "hunter2" not in str(refused.value)
