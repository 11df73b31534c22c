"""Bodies are read up to a limit, and are what they should be."""

import asyncio

import msgspec
import pytest
from aiohttp import web

from proxycache.upstream.bodies import decode_json
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnreachable
from tests.builders import image
from tests.fakes.faults import cut
from tests.fakes.upstream_registry import FakeRegistry
from tests.unit.upstream.conftest import MakeClient
from tests.unit.upstream.servers import serving


async def test_a_body_without_end_is_left_at_the_limit(make_client: MakeClient) -> None:
    async def send_forever(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 10_000)

    async with serving(send_forever) as url:
        with pytest.raises(UpstreamMisbehaved, match="larger than 50000 bytes"):
            await make_client(url=url).get_manifest("library/app", "1", max_size=50_000)


async def test_an_error_is_not_read(make_client: MakeClient) -> None:
    async def refuse_at_length(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=503)
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    async with serving(refuse_at_length) as url:
        with pytest.raises(UpstreamUnreachable, match="status 503"):
            await make_client(url=url).get_manifest("library/app", "1", max_size=50_000)


async def test_a_body_that_breaks_off(registry: FakeRegistry, make_client: MakeClient) -> None:
    registry.add_image("library/app", image(), tag="1")
    registry.faults.add(cut(after=10))

    with pytest.raises(UpstreamUnreachable, match="ended early"):
        await make_client().get_manifest("library/app", "1", max_size=50_000)


class Shape(msgspec.Struct):
    tags: list[str]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"tags": 1}', b'{"tags": ["\xff"]}', b'{"a":' + b"[" * 100_000]
)
def test_other_json_than_expected(body: bytes) -> None:
    with pytest.raises(UpstreamMisbehaved):
        decode_json("fake.example", body, Shape)
