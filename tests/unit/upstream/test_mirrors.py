"""Mirrors are asked first, the upstream has the last word, and nobody takes all the time."""

import pytest

from proxycache.oci.digest import parse_digest
from proxycache.oci.names import Tag
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import (
    UpstreamMisbehaved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from proxycache.upstream.mirrors import REST_SECONDS
from tests.builders import image
from tests.fakes.clock import FakeClock
from tests.fakes.faults import Fault, answer, cut, never_answer, rate_limited, wrong_byte
from tests.fakes.upstream_registry import FakeRegistry
from tests.fakes.vanishing import full_backlog, refused_port
from tests.unit.upstream.conftest import MakeClient

TAG = Tag("1")


@pytest.fixture
def mirror(second_registry: FakeRegistry, registry: FakeRegistry) -> FakeRegistry:
    """A mirror that holds what the upstream holds."""
    for each in (registry, second_registry):
        each.add_image("library/app", image(), tag=TAG)
    return second_registry


@pytest.fixture
def mirrored(make_client: MakeClient, mirror: FakeRegistry) -> UpstreamClient:
    return make_client(mirrors=(mirror.url,))


async def test_a_mirror_is_asked_first(registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient) -> None:
    await mirrored.head_manifest("library/app", TAG)

    assert (mirror.count(), registry.count()) == (1, 0)


@pytest.mark.parametrize("fault", [answer(404), answer(401), answer(403), answer(500), rate_limited(), cut(after=5)])
async def test_the_next_one_is_asked(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient, fault: Fault
) -> None:
    mirror.faults.add(fault, times=None)

    assert (await mirrored.get_manifest("library/app", TAG, max_size=10_000)).body == image().body
    assert registry.count() == 1


async def test_a_mirror_with_wrong_content(mirror: FakeRegistry, mirrored: UpstreamClient) -> None:
    mirror.faults.add(wrong_byte(5))
    digest = parse_digest(image().digest)

    assert (await mirrored.get_manifest("library/app", digest, max_size=10_000)).digest == digest


async def test_mirrors_that_hang_leave_time_for_the_upstream(
    registry: FakeRegistry, mirror: FakeRegistry, make_client: MakeClient
) -> None:
    mirror.faults.add(never_answer(), times=None)

    with full_backlog() as port:
        hanging = (f"http://127.0.0.1:{port}", mirror.url)
        mirrored = make_client(mirrors=hanging, connect_timeout=0.5, answer_within=3.0)
        await mirrored.head_manifest("library/app", TAG)

    assert registry.count() == 1


async def test_one_that_was_unreachable_rests(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient, clock: FakeClock
) -> None:
    mirror.faults.add(answer(503))
    for _ in range(3):
        await mirrored.head_manifest("library/app", TAG)
    assert (mirror.count(), registry.count()) == (1, 3)

    clock.advance(REST_SECONDS)
    await mirrored.head_manifest("library/app", TAG)

    assert (mirror.count(), registry.count()) == (2, 3)


async def test_one_that_rests_is_still_asked_at_last(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient
) -> None:
    mirror.faults.add(answer(503))
    await mirrored.head_manifest("library/app", TAG)
    registry.faults.add(answer(503))

    await mirrored.head_manifest("library/app", TAG)

    assert mirror.count() == 2


@pytest.mark.parametrize(
    ("statuses", "error_class"),
    [
        ((404, 503), UpstreamUnreachable),
        ((503, 404), UpstreamNotFound),
        ((429, 401), UpstreamUnauthorized),
        ((404, 429), UpstreamRateLimited),
    ],
)
async def test_the_upstream_has_the_last_word(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient, statuses: tuple[int, int], error_class: type
) -> None:
    mirror.faults.add(answer(statuses[0]))
    registry.faults.add(answer(statuses[1]))

    with pytest.raises(error_class):
        await mirrored.head_manifest("library/app", TAG)


async def test_lists_are_of_the_upstream(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient
) -> None:
    registry.repository("library/app").tags["2"] = "sha256:x"

    assert (await mirrored.list_tags("library/app", n=None, last=None)).tags == ["1", "2"]

    registry.faults.add(answer(503))
    assert (await mirrored.list_tags("library/app", n=None, last=None)).tags == ["1"]


async def test_sources_to_avoid(registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient) -> None:
    digest = parse_digest(next(image().blobs()).digest)
    avoid: frozenset[str] = frozenset()
    sources = []

    for _ in range(2):
        async with mirrored.open_blob("library/app", digest, avoid=avoid) as blob:
            sources.append(blob.source)
        avoid = frozenset(sources)

    assert sources == [mirror.url, registry.url]
    with pytest.raises(UpstreamMisbehaved, match="no other source"):
        async with mirrored.open_blob("library/app", digest, avoid=avoid):
            pytest.fail("opened")


async def test_a_mirrors_404_is_not_the_upstreams(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: UpstreamClient
) -> None:
    digest = parse_digest(next(image().blobs()).digest)
    mirror.faults.add(answer(404))

    with pytest.raises(UpstreamMisbehaved, match="no other source"):
        async with mirrored.open_blob("library/app", digest, avoid=frozenset({registry.url})):
            pytest.fail("opened")


async def test_nobody_answers(make_client: MakeClient) -> None:
    with refused_port() as port:
        lost = make_client(url=f"http://127.0.0.1:{port}", mirrors=(f"http://127.0.0.2:{port}",))
        with pytest.raises(UpstreamUnreachable, match=r"127\.0\.0\.1"):
            await lost.head_manifest("library/app", TAG)
