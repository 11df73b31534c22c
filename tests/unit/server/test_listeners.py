import socket
from collections.abc import Iterator

import pytest
from aiohttp import ClientSession, web

from proxycache.config.model import parse_address
from proxycache.server.listeners import CannotListen, listener_urls, open_listeners, start_sites

ANY_PORT = parse_address("127.0.0.1:0")


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    """What is put in here is closed."""
    opened: list[socket.socket] = []
    yield opened
    for listener in opened:
        listener.close()


def test_every_address_is_listened_on(listeners):
    listeners += open_listeners([ANY_PORT, ANY_PORT])

    for listener in listeners:
        socket.create_connection(listener.getsockname()).close()


def test_ipv4_and_ipv6_share_a_port(listeners):
    try:
        listeners += open_listeners([parse_address("[::]:0")])
    except CannotListen:
        pytest.skip("this machine has no IPv6")

    listeners += open_listeners([parse_address(f"0.0.0.0:{listeners[0].getsockname()[1]}")])

    assert [url.rpartition(":")[0] for url in listener_urls(listeners)] == ["http://[::]", "http://0.0.0.0"]


def test_a_name_is_listened_on_at_each_of_its_addresses(listeners):
    listeners += open_listeners([parse_address("localhost:0")])

    assert "127.0.0.1" in [listener.getsockname()[0] for listener in listeners]


def test_a_port_in_use_is_told_in_one_line_and_leaves_nothing_open(listeners):
    listeners += open_listeners([ANY_PORT])
    taken = listeners[0].getsockname()[1]

    with pytest.raises(CannotListen) as refused:
        open_listeners([ANY_PORT, parse_address(f"127.0.0.1:{taken}")])

    assert str(refused.value) == f"cannot listen on 127.0.0.1:{taken}: address already in use"


def test_an_address_that_is_not_ours_is_told_in_one_line():
    with pytest.raises(CannotListen, match=r"cannot listen on 203\.0\.113\.1:0: cannot assign requested address"):
        open_listeners([parse_address("203.0.113.1:0")])


def test_a_name_that_does_not_exist_is_told_in_one_line():
    with pytest.raises(CannotListen, match=r"cannot listen on nowhere\.invalid:0: "):
        open_listeners([parse_address("nowhere.invalid:0")])


async def test_connections_are_accepted_without_delay_and_queued(listeners):
    async def answer(request: web.BaseRequest) -> web.Response:
        connection = request.transport.get_extra_info("socket")
        return web.Response(text=str(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))

    listeners += open_listeners([ANY_PORT])
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await start_sites(runner, listeners)

    async with ClientSession() as session, session.get(listener_urls(listeners)[0]) as response:
        assert await response.text() == "1"

    await runner.cleanup()
