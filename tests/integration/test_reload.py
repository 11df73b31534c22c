"""SIGHUP builds the jobs anew: what runs goes on, and nothing of before stays open."""

import pytest

from proxycache.config.errors import ConfigError
from tests.builders import image
from tests.fakes.faults import stall
from tests.fakes.signals import Gate
from tests.integration.harness import read

NAME = "library/alpine"
SIZE = 600_000


async def test_a_transfer_goes_on_over_a_reload_and_its_client_is_closed_afterwards(cache, upstream):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=SIZE // 2), on=wanted.digest)

    async with cache.open(f"/v2/{NAME}/blobs/{wanted.digest}") as response:
        begun = await response.content.readexactly(1000)
        cache.reload()
        gate.open()
        rest, is_complete = await read(response)

    assert (begun + rest == wanted.body, is_complete) == (True, True)
    assert await cache.wait_for_fills() == ["published"]
    await upstream.wait_until_left()
    assert upstream.count() == 1


async def test_reloads_leave_no_connection_behind(cache, upstream):
    upstream.add_image(NAME, image(), tag="3")

    for _ in range(3):
        await cache.get_manifest(NAME, "4")
        cache.reload()

    await upstream.wait_until_left()
    assert len(cache.parts.clients) == 2


async def test_a_file_that_has_gone_since_the_configuration_was_loaded_is_an_error_of_one_line(start):
    with pytest.raises(ConfigError, match=r"^upstream docker\.io: ca_file: [^\n]+$"):
        await start(ca_file="/nowhere/ca.pem")
