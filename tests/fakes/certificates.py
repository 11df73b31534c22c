"""Certificates for 127.0.0.1 and localhost, made for one test by an authority that its clients trust."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from proxycache.config.certificate import Certificate, load_certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, as files; `shown` is the certificate as a client sees it in its handshake."""

    certificate: Path
    key: Path
    shown: bytes

    @property
    def toml(self) -> str:
        """The lines of `[server]` that name it."""
        return f'tls_certificate = "{self.certificate}"\ntls_key = "{self.key}"'

    def load(self) -> Certificate:
        """Return it as a configuration that names it has it."""
        certificate = load_certificate(tls_certificate=str(self.certificate), tls_key=str(self.key))
        assert certificate is not None
        return certificate

    def put_in_place_of(self, other: "Pair") -> None:
        """Write it into the files of another."""
        other.certificate.write_bytes(self.certificate.read_bytes())
        other.key.write_bytes(self.key.read_bytes())


class Authority:
    """Issues pairs into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()

    def issue(self, name: str = "server", *, days: int = 30, is_rsa: bool = False) -> Pair:
        """Write NAME.pem and NAME.key; negative `days` are those since it has expired."""
        issued = self._authority.issue_cert(
            "127.0.0.1",
            "localhost",
            not_after=datetime.now(UTC) + timedelta(days=days),  # noqa: TID251 - OpenSSL looks at the machine's clock
            key_type=trustme.KeyType.RSA if is_rsa else trustme.KeyType.ECDSA,
        )
        chain = [each.bytes().decode() for each in issued.cert_chain_pems]
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        certificate.write_text("".join(chain))
        issued.private_key_pem.write_to_path(str(key))
        return Pair(certificate=certificate, key=key, shown=ssl.PEM_cert_to_DER_cert(chain[0]))

    def client(self, *, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLContext:
        """Return how a client connects that trusts this authority."""
        context = ssl.create_default_context()
        context.maximum_version = newest
        self._authority.configure_trust(context)
        return context


def encrypt(key: Path, passphrase: bytes) -> None:
    """Put a passphrase on a key."""
    loaded = load_pem_private_key(key.read_bytes(), None)
    encryption = BestAvailableEncryption(passphrase)
    key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
