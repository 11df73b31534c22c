"""How much the kernel takes in before it is read, where a bandwidth is set."""

import socket

import pytest

from proxycache.upstream.transport import LEAST_WINDOW_BYTES, open_socket_with


@pytest.mark.parametrize("rate", [1, 1_000_000, 20_000_000])
def test_sockets_hold_little_where_there_is_a_rate(rate):
    factory = open_socket_with(rate)
    assert factory is not None

    with factory((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))) as opened:
        held = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    assert held <= 2 * max(LEAST_WINDOW_BYTES, rate // 20)  # Linux doubles it for its own use (socket(7))


def test_without_a_rate_the_kernel_decides():
    assert open_socket_with(0) is None
