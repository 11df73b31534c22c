"""What of a certificate and its key is refused, and what is doubted, when the configuration is loaded."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from proxycache.config.certificate import load_certificate
from tests.fakes.certificates import Authority, Pair, encrypt


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Its files have short names: errors cut long ones."""
    monkeypatch.chdir(tmp_path)
    return Authority(Path())


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue()


@pytest.mark.parametrize("is_rsa", [False, True])
def test_a_pair_is_ready_for_handshakes_and_beyond_doubt(authority, is_rsa):
    certificate = authority.issue(is_rsa=is_rsa).load()

    assert certificate.doubt == ""
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_both_may_be_in_one_file(pair):
    pair.certificate.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())

    assert load_certificate(tls_certificate=str(pair.certificate), tls_key=str(pair.certificate)) is not None


def test_without_files_there_is_no_certificate(load):
    assert load_certificate() is None
    assert load().certificate is None


def test_one_that_has_expired_is_doubted(authority):
    assert authority.issue(days=-1).load().doubt == "certificate has expired"


def take_away(file: Path) -> None:
    file.unlink()


def put_a_directory_there(file: Path) -> None:
    file.unlink()
    file.mkdir()


def spoil(file: Path) -> None:
    file.write_text("-----BEGIN NOTHING-----\n")


def empty(file: Path) -> None:
    file.write_text("")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (take_away, "must be a file that can be read: No such file or directory"),
        (put_a_directory_there, "must be a file that can be read: Is a directory"),
        (spoil, "must be a file with certificates in PEM"),
        (empty, "must be a file with certificates in PEM"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_an_error_of_its_line(pair, refusal, damage, reason):
    damage(pair.certificate)

    text = refusal(f"[server]\n{pair.toml}")

    assert text == f'proxycache.toml:2: server.tls_certificate = "{pair.certificate}": {reason}'


def put_a_passphrase_on_it(file: Path) -> None:
    encrypt(file, b"swordfish")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (take_away, "must be a file that can be read: No such file or directory"),
        (spoil, "must be a file with a private key in PEM"),
        (empty, "must be a file with a private key in PEM"),
        (put_a_passphrase_on_it, "is encrypted, and there is nobody to ask for its passphrase"),
    ],
)
def test_a_key_that_cannot_be_used_is_an_error_of_its_line(pair, refusal, damage, reason):
    damage(pair.key)

    text = refusal(f"[server]\n{pair.toml}")

    assert text == f'proxycache.toml:3: server.tls_key = "{pair.key}": {reason}'


@pytest.mark.parametrize("is_rsa", [False, True])
def test_a_key_of_another_certificate_is_refused(authority, pair, refusal, is_rsa):
    other = authority.issue("other", is_rsa=is_rsa)

    text = refusal(f'[server]\ntls_certificate = "{pair.certificate}"\ntls_key = "{other.key}"')

    reason = "is not the key of the first certificate in tls_certificate"
    assert text.startswith(f'proxycache.toml:3: server.tls_key = "{other.key}": {reason}: ')


@pytest.mark.parametrize(("given", "missing"), [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")])
def test_one_without_the_other_is_refused(refusal, given, missing):
    text = refusal(f'[server]\n{given} = "/some/file"')

    assert text == f'proxycache.toml:2: server.{given} = "/some/file": goes together with {missing}'


def test_a_reload_takes_other_files(authority, pair, load):
    running, other = load(f"[server]\n{pair.toml}"), authority.issue("other")

    fresh = load(f"[server]\nworkers = 7\n{other.toml}")
    reloaded = running.reloaded(fresh)

    assert reloaded.certificate is fresh.certificate
    assert reloaded.settings.server.tls_key == str(other.key)
    assert reloaded.settings.server.workers == 0
    assert running.waiting_for_restart(fresh) == ["server.workers"]


@pytest.mark.parametrize("turn", [lambda plain, tls: (plain, tls), lambda plain, tls: (tls, plain)])
def test_whether_there_is_tls_at_all_waits_for_a_restart(pair, load, turn: Callable[..., tuple]):
    running, fresh = turn(load(), load(f"[server]\n{pair.toml}"))

    reloaded = running.reloaded(fresh)

    assert reloaded.certificate is running.certificate
    assert reloaded.settings.server == running.settings.server
    assert running.waiting_for_restart(fresh) == ["server.tls_certificate", "server.tls_key"]
