"""Requests go where they should, with what they should."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from yarl import URL

from proxycache.upstream.errors import UpstreamMisbehaved
from proxycache.upstream.settings import Secret, UpstreamSettings
from proxycache.upstream.transport import Request, Transport, parse_location, redact_url
from tests.fakes.upstream_registry import FakeRegistry
from tests.unit.upstream.conftest import MakeClient
from tests.unit.upstream.servers import serving

BASE = URL("https://registry.example/v2/app/blobs/x")


@pytest.fixture
async def transport(registry: FakeRegistry) -> AsyncIterator[Transport]:
    settings = UpstreamSettings(name="fake.example", url=registry.url)
    transport = Transport(URL(registry.url), settings, tls=True, via="cache-1")
    yield transport
    await transport.close()


def get(url: str, *, authorization: str = "") -> Request:
    return Request(method="GET", url=URL(url), headers={}, authorization=Secret(authorization))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/direct/x", "https://registry.example/direct/x"),
        ("../manifests/y", "https://registry.example/v2/app/manifests/y"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("https://cdn.example/x?Sig=a%2Fb%3D~c+d&e=%7E", "https://cdn.example/x?Sig=a%2Fb%3D~c+d&e=%7E"),
        ("https://cdn.example/a b?c=ä", "https://cdn.example/a%20b?c=%C3%A4"),
        ("https://ann:secret@cdn.example/x#part", "https://cdn.example/x"),
    ],
)
def test_locations(location: str, target: str) -> None:
    assert str(parse_location(BASE, location)) == target


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "ftp://cdn.example/", "http://[::1", "data:,x"])
def test_locations_that_lead_nowhere(location: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_location(BASE, location)


def test_a_url_for_people_holds_no_secret() -> None:
    assert (
        redact_url(URL("https://ann:secret@cdn.example:8443/x?Signature=secret#secret")) == "https://cdn.example:8443/x"
    )


async def test_what_every_request_says(registry: FakeRegistry, transport: Transport) -> None:
    (await transport.send(get(f"{registry.url}/v2/"))).release()

    headers = registry.requests[0].headers
    assert (headers["Via"], headers["Accept-Encoding"], headers["User-Agent"]) == (
        "1.1 cache-1",
        "identity",
        "proxycache",
    )
    assert "Cookie" not in headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_credential_stays_at_its_host(transport: Transport, registry: FakeRegistry, status: int) -> None:
    async def redirect(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": f"{registry.url}/v2/"})

    async with serving(redirect) as other_url:
        response = await transport.send(get(f"{other_url}/v2/x", authorization="Bearer secret"))
        response.release()

    assert response.status == 200
    assert "Authorization" not in registry.requests[0].headers


async def test_a_credential_does_not_come_back_from_another_host(transport: Transport) -> None:
    seen: list[str | None] = []

    async def lead(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        location = str(request.query.get("next", ""))
        return web.Response(status=307, headers={"Location": location}) if location else web.Response()

    async with serving(lead) as here, serving(lead) as there:
        url = URL(here).with_query(next=str(URL(there).with_query(next=f"{here}/end")))
        (await transport.send(get(str(url), authorization="Bearer secret"))).release()

    assert seen == ["Bearer secret", None, None]


async def test_a_credential_goes_along_on_its_own_host(transport: Transport) -> None:
    seen: list[str | None] = []

    async def lead(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=302, headers={"Location": "end"}) if request.path == "/x" else web.Response()

    async with serving(lead) as url:
        (await transport.send(get(f"{url}/x", authorization="Bearer secret"))).release()

    assert seen == ["Bearer secret", "Bearer secret"]


async def test_a_redirect_without_end(transport: Transport) -> None:
    async def lead_on(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": f"{request.path}x?Signature=secret"})

    async with serving(lead_on) as url:
        with pytest.raises(UpstreamMisbehaved, match="more than 5 redirects") as failed:
            await transport.send(get(f"{url}/x"))

    assert "secret" not in str(failed.value)


async def test_a_redirect_to_a_file(transport: Transport) -> None:
    async def lead_astray(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "file:///etc/passwd"})

    async with serving(lead_astray) as url:
        with pytest.raises(UpstreamMisbehaved, match="redirect"):
            await transport.send(get(f"{url}/x"))


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_a_public_registry_does_not_lead_into_our_network(
    monkeypatch: pytest.MonkeyPatch, make_client: MakeClient, host: str
) -> None:
    """The egress proxy plays the registry on the internet."""

    async def lead_inside(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": f"http://{host}:9/latest"})

    async with serving(lead_inside) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("NO_PROXY", "localhost")
        with pytest.raises(UpstreamMisbehaved, match="not a public address"):
            await make_client(url="http://registry.example").head_manifest("library/app", "1")


async def test_an_egress_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch, make_client: MakeClient) -> None:
    seen: list[web.BaseRequest] = []

    async def relay(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        return web.Response(headers={"Content-Type": "application/vnd.oci.image.manifest.v1+json"})

    async with serving(relay) as proxy:
        monkeypatch.setenv("http_proxy", str(URL(proxy).with_user("ann").with_password("secret")))
        await make_client(url="http://registry.example").head_manifest("library/app", "1")

    assert str(seen[0].url) == "http://registry.example/v2/library/app/manifests/1"
    assert seen[0].headers["Proxy-Authorization"] == "Basic YW5uOnNlY3JldA=="


async def test_no_proxy_hosts_are_asked_directly(
    monkeypatch: pytest.MonkeyPatch, registry: FakeRegistry, make_client: MakeClient
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    await make_client().get_referrers("library/app", "sha256:" + "0" * 64)

    assert registry.count("GET") == 1


async def test_a_private_ca_and_no_verification(tmp_path: Path, make_client: MakeClient) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"tags": ["1"]})

    async with serving(answer, tls=context) as url:
        for changes in ({"ca_file": str(tmp_path / "ca.pem")}, {"insecure": True}):
            page = await make_client(url=url, **changes).list_tags("library/app", n=None, last=None)
            assert page.tags == ["1"]
