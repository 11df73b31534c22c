"""Failures of a connection say what happened, and never more than that."""

import ssl

import aiohttp
import pytest
import trustme
from aiohttp import web
from yarl import URL

from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnreachable
from proxycache.upstream.failures import translate_error
from tests.builders import image
from tests.fakes.faults import never_answer, reset
from tests.fakes.upstream_registry import FakeRegistry
from tests.fakes.vanishing import full_backlog, refused_port
from tests.unit.upstream.conftest import MakeClient
from tests.unit.upstream.servers import always, serving


def test_a_url_that_cannot_be_used_is_not_repeated() -> None:
    error = translate_error("fake.example", aiohttp.InvalidURL(URL("http://cdn.example/?Signature=hunter2")))

    assert isinstance(error, UpstreamMisbehaved)
    assert "hunter2" not in str(error)


async def test_a_refused_connection(make_client: MakeClient) -> None:
    with refused_port() as port, pytest.raises(UpstreamUnreachable, match=r"cannot connect to 127\.0\.0\.1") as failed:
        await make_client(url=f"http://127.0.0.1:{port}").head_manifest("library/app", "1")

    assert not failed.value.timed_out


async def test_packets_that_vanish(make_client: MakeClient) -> None:
    with full_backlog() as port, pytest.raises(UpstreamUnreachable) as failed:
        await make_client(url=f"http://127.0.0.1:{port}", connect_timeout=0.1).head_manifest("library/app", "1")

    assert failed.value.timed_out


async def test_no_answer_within_the_time(registry: FakeRegistry, make_client: MakeClient) -> None:
    registry.faults.add(never_answer())

    with pytest.raises(UpstreamUnreachable) as failed:
        await make_client(answer_within=0.1).head_manifest("library/app", "1")

    assert failed.value.timed_out


async def test_a_name_that_does_not_resolve(make_client: MakeClient) -> None:
    with pytest.raises(UpstreamUnreachable, match=r"cannot connect to registry\.invalid"):
        await make_client(url="http://registry.invalid").head_manifest("library/app", "1")


async def test_a_reset(registry: FakeRegistry, client: UpstreamClient) -> None:
    registry.add_image("library/app", image(), tag="1")
    registry.faults.add(reset(after=1))

    with pytest.raises(UpstreamUnreachable, match="ended early"):
        await client.get_manifest("library/app", "1", max_size=2000)


async def test_what_is_no_http(make_client: MakeClient) -> None:
    response = web.Response(headers={"X-Large": "x" * 40_000})

    async with serving(always(lambda: response)) as url:
        with pytest.raises(UpstreamMisbehaved, match="no HTTP that can be understood"):
            await make_client(url=url).head_manifest("library/app", "1")


async def test_a_certificate_that_nobody_vouches_for(make_client: MakeClient) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async with serving(always(web.Response), tls=context) as url:
        with pytest.raises(UpstreamUnreachable, match=r"certificate of 127\.0\.0\.1 refused"):
            await make_client(url=url).head_manifest("library/app", "1")
