"""The fake registry does what it says: a wrong fake would prove wrong things."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.builders import DOCKER_SCHEMA1, OCI_INDEX, image, referrer, schema1_manifest
from tests.fakes.auth import BasicAuth, TokenAuth
from tests.fakes.faults import (
    answer,
    bandwidth,
    cut,
    no_length,
    range_ignored,
    rate_limited,
    reset,
    slow_headers,
    stall,
    without_header,
    wrong_byte,
    wrong_length,
)
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import FakeRegistry, RateLimit, ThreadedRegistry
from tests.fakes.vanishing import full_backlog, refused_port

SIZE = 300_000
ANN = {"Authorization": aiohttp.encode_basic_auth("ann", "secret")}


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry() as started:
        yield started


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as opened:
        yield opened


@pytest.fixture
def blob_url(registry: FakeRegistry) -> str:
    held = registry.add_blob("library/app", SIZE)
    return f"{registry.url}/v2/library/app/blobs/{held.digest}"


def held_bytes(registry: FakeRegistry) -> bytes:
    return next(iter(registry.repository("library/app").blobs.values())).body


async def read_until_broken(response: aiohttp.ClientResponse) -> tuple[bytes, Exception | None]:
    received = bytearray()
    try:
        async for piece in response.content.iter_any():
            received += piece
    except (aiohttp.ClientError, ConnectionError) as error:
        return bytes(received), error
    return bytes(received), None


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-", slice(100, SIZE)),
        ("bytes=-7", slice(SIZE - 7, SIZE)),
        ("bytes=5-999999999", slice(5, SIZE)),
    ],
)
async def test_ranges_are_exact(registry, session, blob_url, asked: str, part: slice) -> None:
    async with session.get(blob_url, headers={"Range": asked}) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {part.start}-{part.stop - 1}/{SIZE}"
        assert await response.read() == held_bytes(registry)[part]


async def test_a_range_behind_the_end_is_refused(session, blob_url) -> None:
    async with session.get(blob_url, headers={"Range": f"bytes={SIZE}-"}) as response:
        assert response.status == 416


@pytest.mark.parametrize("fault", [cut(at=100_000), reset(at=100_000), cut(after=100_000), reset(after=100_000)])
async def test_a_broken_transfer_gives_exactly_the_bytes_before(registry, session, blob_url, fault) -> None:
    registry.faults.add(fault)

    async with session.get(blob_url) as response:
        received, error = await read_until_broken(response)

    assert received == held_bytes(registry)[:100_000]
    assert error is not None


async def test_a_place_in_the_content_is_passed_by_a_resume_and_one_in_the_answer_is_not(
    registry, session, blob_url
) -> None:
    registry.faults.add(cut(at=1000), times=None)
    async with session.get(blob_url, headers={"Range": "bytes=1001-"}) as response:
        assert len((await read_until_broken(response))[0]) == SIZE - 1001

    registry.faults.clear()
    registry.faults.add(cut(after=1000), times=None)
    async with session.get(blob_url, headers={"Range": "bytes=1001-"}) as response:
        assert len((await read_until_broken(response))[0]) == 1000


async def test_a_stall_ends_when_its_gate_opens(registry, session, blob_url) -> None:
    gate = Gate()
    registry.faults.add(stall(gate, at=1000))

    async with session.get(blob_url) as response:
        assert await response.content.readexactly(1000) == held_bytes(registry)[:1000]
        await gate.arrived.wait()
        gate.open()
        assert await response.read() == held_bytes(registry)[1000:]


async def test_a_wrong_byte_and_a_wrong_length(registry, session, blob_url) -> None:
    registry.faults.add(wrong_byte(70_000))
    async with session.get(blob_url) as response:
        received = await response.read()
    assert [place for place, byte in enumerate(received) if byte != held_bytes(registry)[place]] == [70_000]

    for difference in (-10, 10):
        registry.faults.add(wrong_length(difference))
        async with session.get(blob_url) as response:
            assert response.content_length == SIZE + difference
            received, error = await read_until_broken(response)
        assert len(received) == SIZE + min(0, difference)
        assert (error is not None) == (difference > 0)


async def test_length_and_range_may_be_missing(registry, session, blob_url) -> None:
    registry.faults.add(no_length())
    async with session.get(blob_url) as response:
        assert response.content_length is None
        assert await response.read() == held_bytes(registry)

    registry.faults.add(range_ignored())
    async with session.get(blob_url, headers={"Range": "bytes=5-"}) as response:
        assert (response.status, len(await response.read())) == (200, SIZE)


async def test_statuses_hit_as_many_requests_as_they_should(registry, session, blob_url) -> None:
    registry.faults.add(answer(503), times=2)
    registry.faults.add(rate_limited("7"), method="HEAD")

    statuses = [(await session.get(blob_url)).status for _ in range(3)]
    head = await session.head(blob_url)

    assert statuses == [503, 503, 200]
    assert (head.status, head.headers["Retry-After"]) == (429, "7")
    assert registry.count("GET", "/blobs/") == 3


async def test_slow_headers_bandwidth_and_missing_headers(registry, session, blob_url) -> None:
    gate = Gate()
    registry.faults.add(slow_headers(gate))
    registry.faults.add(without_header("Docker-Content-Digest"))
    registry.faults.add(bandwidth(3_000_000))
    started = asyncio.get_running_loop().time()

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(session.get(blob_url))
        await gate.arrived.wait()
        gate.open()
    async with asking.result() as response:
        assert "Docker-Content-Digest" not in response.headers
        assert len(await response.read()) == SIZE
    assert asyncio.get_running_loop().time() - started >= SIZE / 3_000_000


async def test_the_other_host_refuses_credentials_and_old_signatures(registry, session, blob_url) -> None:
    registry.redirects.add("blobs")
    async with session.get(blob_url, allow_redirects=False) as response:
        signed = response.headers["Location"]
    assert response.status == 307

    async with session.get(signed, headers={"Range": "bytes=10-"}) as response:
        assert await response.read() == held_bytes(registry)[10:]
    assert (await session.get(signed, headers={"Authorization": "Bearer x"})).status == 400
    registry.cdn.expire()
    assert (await session.get(signed)).status == 403

    registry.relative_redirects = True
    async with session.get(blob_url) as response:
        assert await response.read() == held_bytes(registry)


async def test_tokens_are_scoped_and_can_be_revoked(registry, session, blob_url) -> None:
    registry.auth = auth = TokenAuth(username="ann", password="secret", private={"library/app"})
    refused = await session.get(blob_url)
    assert refused.status == 401
    assert 'scope="repository:library/app:pull"' in refused.headers["WWW-Authenticate"]

    async def status_with_token_of(user: dict[str, str]) -> int:
        async with session.get(
            f"{registry.url}/token", params={"scope": "repository:library/app:pull"}, headers=user
        ) as response:
            token = (await response.json())["token"]
        return (await session.get(blob_url, headers={"Authorization": f"Bearer {token}"})).status

    assert await status_with_token_of({}) == 401
    assert await status_with_token_of(ANN) == 200
    auth.revoke_all()
    assert (await session.get(blob_url, headers={"Authorization": "Bearer token-1"})).status == 401
    assert len(auth.requests) == 2


async def test_basic_auth(registry, session, blob_url) -> None:
    registry.auth = BasicAuth(username="ann", password="secret")

    assert (await session.get(blob_url)).headers["WWW-Authenticate"].startswith("Basic")
    assert (await session.get(blob_url, headers=ANN)).status == 200


async def test_manifests_honour_accept_except_schema_1(registry, session) -> None:
    registry.add_image("library/app", image(platforms=["linux/amd64", "linux/arm64"]), tag="1")
    registry.add_manifest("library/app", schema1_manifest(), tag="old")
    url = f"{registry.url}/v2/library/app/manifests"

    assert (await session.get(f"{url}/1", headers={"Accept": OCI_INDEX})).content_type == OCI_INDEX
    assert (await session.get(f"{url}/1", headers={"Accept": "application/json"})).status == 404
    assert (await session.get(f"{url}/old", headers={"Accept": OCI_INDEX})).content_type == DOCKER_SCHEMA1
    assert (await session.get(f"{url}/none")).status == 404
    registry.head_refused.add("manifests")
    assert (await session.head(f"{url}/1")).status == 405


async def test_the_pull_limit_counts_gets_only(registry, session) -> None:
    held = registry.add_image("library/app", image(), tag="1")
    registry.rate_limit = RateLimit(remaining=1)
    url = f"{registry.url}/v2/library/app/manifests/{held.digest}"

    answers = [await session.head(url), await session.get(url), await session.get(url)]

    assert [each.status for each in answers] == [200, 200, 429]
    assert answers[1].headers["ratelimit-remaining"] == "0;w=21600"


@pytest.mark.parametrize("form", ["relative", "absolute", "other-host", "query"])
async def test_tag_lists_come_in_pages(registry, session, form: str) -> None:
    held = registry.add_image("library/app", image())
    registry.repository("library/app").tags.update(dict.fromkeys(["a", "b", "c"], held.digest))
    registry.page_size, registry.link_form = 2, form

    async with session.get(f"{registry.url}/v2/library/app/tags/list") as response:
        assert (await response.json())["tags"] == ["a", "b"]
        assert "?last=b&n=2>" in response.headers["Link"]
    async with session.get(f"{registry.url}/v2/library/app/tags/list?last=b") as response:
        assert (await response.json())["tags"] == ["c"]
        assert "Link" not in response.headers


async def test_tag_lists_may_come_whole_whatever_was_asked(registry, session) -> None:
    held = registry.add_image("library/app", image())
    registry.repository("library/app").tags.update(dict.fromkeys(["a", "b"], held.digest))
    registry.pages_tags = False

    async with session.get(f"{registry.url}/v2/library/app/tags/list?n=1&last=a") as response:
        assert (await response.json())["tags"] == ["a", "b"]


async def test_referrers_by_api_or_not_at_all(registry, session) -> None:
    subject = registry.add_image("library/app", image(), tag="1")
    found = registry.add_image("library/app", referrer(subject))
    url = f"{registry.url}/v2/library/app/referrers/{subject.digest}"

    async with session.get(url) as response:
        assert [each["digest"] for each in (await response.json(content_type=None))["manifests"]] == [found.digest]
    registry.referrers = "off"
    assert (await session.get(url)).status == 404
    registry.referrers = "redirect"
    assert (await session.get(url, allow_redirects=False)).status == 303


async def test_it_stops_and_comes_back_at_the_same_port(registry, session, blob_url) -> None:
    await registry.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await session.get(blob_url)

    await registry.start()
    assert (await session.get(blob_url)).status == 200
    registry.silent = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await session.get(blob_url)


def test_the_threaded_registry_answers_blocking_clients() -> None:
    with ThreadedRegistry() as registry:
        held = registry.add_blob("library/app", 1000)
        with urllib.request.urlopen(f"{registry.url}/v2/library/app/blobs/{held.digest}") as response:
            assert response.read() == held.body
        assert registry.count("GET", held.digest) == 1


async def test_ports_behind_which_nobody_answers() -> None:
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    with full_backlog() as port, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.open_connection("127.0.0.1", port)
