"""The certificate that clients are shown: read and checked with the configuration that names it, and kept with it.

So a pair that cannot be used is refused before any worker hears of it, and a worker that is started later gets the
pair that was accepted, whatever the files hold by then.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

PAIR = ("tls_certificate", "tls_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with its key, ready for handshakes."""

    context: ssl.SSLContext
    doubt: str
    """What a client that trusts it would still object to, as that it has expired; empty: nothing."""


def load_certificate(*, tls_certificate: str = "", tls_key: str = "") -> Certificate | None:
    """Return what the PEM files hold, None where none are named; raises ValueError with one line that names the key."""
    if not tls_certificate and not tls_key:
        return None
    if not tls_key:
        raise ValueError("tls_certificate: goes together with tls_key")
    if not tls_certificate:
        raise ValueError("tls_key: goes together with tls_certificate")
    _check_readable("tls_certificate", tls_certificate)
    _check_readable("tls_key", tls_key)
    client = _client_that_trusts(tls_certificate)
    context = _server_with(tls_certificate, tls_key)
    return Certificate(context=context, doubt=_find_doubt(context, client))


def _check_readable(key: str, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise ValueError(f"{key}: must be a file that can be read: {error.strerror}") from error


def _client_that_trusts(certificate: str) -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its issuer need not be in the file
    try:
        client.load_verify_locations(certificate)
    except OSError as error:
        raise ValueError("tls_certificate: must be a file with certificates in PEM") from error
    return client


def _server_with(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_to_decrypt)
    except OSError as error:
        reason = _reason(error)
        if "PEM" in reason:
            raise ValueError("tls_key: must be a file with a private key in PEM") from error
        if "TOO_" in reason:  # EE_KEY_TOO_SMALL, CA_MD_TOO_WEAK: OpenSSL's security level
            raise ValueError(f"tls_certificate: cannot be used: {reason}") from error
        raise ValueError(f"tls_key: is not the key of the first certificate in tls_certificate: {reason}") from error
    return context


def _refuse_to_decrypt() -> str:
    raise ValueError("tls_key: is encrypted, and there is nobody to ask for its passphrase")


def _reason(error: OSError) -> str:
    return getattr(error, "reason", "") or error.strerror or str(error)


def _find_doubt(context: ssl.SSLContext, client_context: ssl.SSLContext) -> str:
    """Return why a handshake in memory does not come to an end: the only way to have the dates checked."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return getattr(error, "verify_message", "") or _reason(error)
    return ""
