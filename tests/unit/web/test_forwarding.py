"""Who asks, behind proxies that we trust and those that we do not."""

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxycache.web.forwarding import Proxies
from tests.unit.web.test_request_parts import Peer

TRUSTED = Proxies(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])


def request(peer: str, *headers: tuple[str, str]):
    return make_mocked_request(
        "GET", "/v2/", headers=CIMultiDict([("Host", "localhost:5000"), *headers]), transport=Peer(peer)
    )


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["1.1.1.1", "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["1.1.1.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.7:1234"], "192.0.2.7"),
        ("10.0.0.1", ["[2001:db8::1]:1234"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::1", ["192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, "], "10.0.0.1"),
        ("10.0.0.1", [", ".join(["192.0.2.7"] * 1000)], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("192.0.2.9", ["192.0.2.7"], "192.0.2.9"),
    ],
)
def test_the_client_is_the_last_whom_we_do_not_trust(peer, forwarded, address):
    asked = request(peer, *(("X-Forwarded-For", each) for each in forwarded))

    assert TRUSTED.origin_of(asked).address == TRUSTED.address_of(asked) == address
    assert not TRUSTED.origin_of(asked).is_loopback


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("for=192.0.2.7", "192.0.2.7"),
        ('For="[2001:db8::1]:1234";proto=https', "2001:db8::1"),
        ("proto=http;for=1.1.1.1, for=192.0.2.7;by=10.0.0.1", "192.0.2.7"),
        ("for=192.0.2.7, by=10.0.0.1", "10.0.0.1"),
        ("for=_hidden", "10.0.0.1"),
        ("nonsense", "10.0.0.1"),
    ],
)
def test_the_standard_header_counts_as_well(forwarded, address):
    assert TRUSTED.origin_of(request("10.0.0.1", ("Forwarded", forwarded))).address == address


@pytest.mark.parametrize(
    ("headers", "is_loopback"),
    [
        ([("X-Forwarded-For", "127.0.0.1")], True),
        ([("X-Forwarded-For", "::1")], True),
        ([("Forwarded", "for=127.0.0.1"), ("X-Forwarded-For", "127.0.0.1")], True),
        ([("Forwarded", "for=127.0.0.1"), ("X-Forwarded-For", "192.0.2.7")], False),
        ([("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "127.0.0.1")], False),
        ([("X-Forwarded-For", "127.0.0.1"), ("Origin", "https://page.example")], False),
        ([("X-Real-IP", "127.0.0.1")], False),
        ([], False),
    ],
)
def test_a_proxy_on_this_machine_speaks_for_whom_it_names_and_for_nobody_else(headers, is_loopback):
    assert TRUSTED.origin_of(request("127.0.0.1", *headers)).is_loopback is is_loopback


@given(st.lists(st.tuples(st.sampled_from(["Forwarded", "X-Forwarded-For", "X-Forwarded-Host"]),
                          st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0")))))  # fmt: skip
def test_no_header_raises_or_makes_a_stranger_ours(headers):
    asked = request("192.0.2.9", *headers)

    assert not TRUSTED.origin_of(asked).is_loopback
    assert TRUSTED.base_url(asked) == "http://localhost:5000"
    assert TRUSTED.origin_of(request("10.0.0.1", *headers)) is not None


@pytest.mark.parametrize("host", ["a b", 'x"', "evil/path", "user@host", "a:b:c", "", "[::1", "x" * 5 + "\\"])
def test_a_host_that_is_none_gets_into_no_url(host):
    asked = make_mocked_request("GET", "/v2/", headers={"Host": host})

    assert Proxies().base_url(asked) == "http://127.0.0.1:80"  # where the connection came in


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        Proxies([text])
