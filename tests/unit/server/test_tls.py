"""Handshakes in memory: which certificate a client is shown, before and after an exchange."""

import ssl
from pathlib import Path

import pytest

from proxycache.server.tls import ServedCertificate
from tests.fakes.certificates import Authority

CLIENTS = [(version, host) for version in ("TLSv1_2", "TLSv1_3") for host in ("127.0.0.1", "localhost")]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def connect(served: ServedCertificate, client: ssl.SSLContext, host: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return the client's and the server's end; a client that is told an address names no host in its handshake."""
    assert served.context is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end = served.context.wrap_bio(to_server, to_client, server_side=True)
    client_end = client.wrap_bio(to_client, to_server, server_hostname=host)
    waiting = [client_end, server_end]
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    return client_end, server_end


@pytest.mark.parametrize(("version", "host"), CLIENTS)
def test_each_handshake_gets_the_pair_of_the_last_exchange(authority, version, host):
    pairs = [authority.issue(), authority.issue("next"), authority.issue("last", is_rsa=True)]
    served = ServedCertificate(pairs[0].load())
    client = authority.client(newest=ssl.TLSVersion[version])

    shown = [connect(served, client, host)[0].getpeercert(binary_form=True)]
    for pair in pairs[1:]:
        served.exchange(pair.load())
        shown.append(connect(served, client, host)[0].getpeercert(binary_form=True))

    assert shown == [pair.shown for pair in pairs]


def test_a_connection_goes_on_over_an_exchange(authority):
    served = ServedCertificate(authority.issue().load())
    client_end, server_end = connect(served, authority.client(), "localhost")

    served.exchange(authority.issue("next").load())
    server_end.write(b"still here")

    assert client_end.read() == b"still here"


def test_http_1_1_is_agreed_on_whatever_else_a_client_offers(authority):
    served = ServedCertificate(authority.issue().load())
    client = authority.client()
    client.set_alpn_protocols(["h2", "http/1.1"])

    agreed = [connect(served, client, "localhost")[0].selected_alpn_protocol()]
    served.exchange(authority.issue("next").load())
    agreed.append(connect(served, client, "localhost")[0].selected_alpn_protocol())

    assert agreed == ["http/1.1", "http/1.1"]


def test_without_a_certificate_there_is_nothing_to_exchange():
    served = ServedCertificate(None)

    served.exchange(None)

    assert served.context is None
