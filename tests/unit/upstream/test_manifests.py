"""Manifests come as they are, and are what was asked for."""

import hashlib

import pytest

from proxycache.events import Event, RateLimitSeen, UpstreamAnswered
from proxycache.oci.digest import digest_of, parse_digest
from proxycache.oci.media_types import MANIFEST_ACCEPT
from proxycache.oci.names import Tag
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamMisbehaved
from tests.builders import DOCKER_SCHEMA1, OCI_MANIFEST, image, schema1_manifest
from tests.fakes.faults import answer, without_header, wrong_byte
from tests.fakes.upstream_registry import FakeRegistry, RateLimit

TAG = Tag("1")


async def test_head_tells_what_a_tag_is(registry: FakeRegistry, client: UpstreamClient) -> None:
    held = registry.add_image("library/app", image(), tag=TAG)

    head = await client.head_manifest("library/app", TAG)

    assert (head.digest, head.media_type) == (parse_digest(held.digest), OCI_MANIFEST)
    assert head.size == len(held.body)
    assert registry.requests[0].headers["Accept"] == MANIFEST_ACCEPT


async def test_head_without_a_digest(registry: FakeRegistry, client: UpstreamClient) -> None:
    held = registry.add_image("library/app", image(), tag=TAG)
    registry.faults.add(without_header("Docker-Content-Digest"), times=None)

    assert (await client.head_manifest("library/app", TAG)).digest is None
    assert (await client.head_manifest("library/app", parse_digest(held.digest))).digest == parse_digest(held.digest)


async def test_a_registry_that_knows_no_head_is_asked_by_get(registry: FakeRegistry, client: UpstreamClient) -> None:
    held = registry.add_image("library/app", image(), tag=TAG)
    registry.head_refused.add("manifests")

    head = await client.head_manifest("library/app", TAG)

    assert (head.digest, head.size) == (parse_digest(held.digest), len(held.body))


async def test_the_exact_bytes_by_tag_and_by_digest(registry: FakeRegistry, client: UpstreamClient) -> None:
    held = registry.add_image("library/app", image(), tag=TAG)

    for reference in (TAG, parse_digest(held.digest)):
        fetched = await client.get_manifest("library/app", reference, max_size=10_000)
        assert (fetched.body, str(fetched.digest), fetched.media_type) == (held.body, held.digest, OCI_MANIFEST)


async def test_the_digest_is_of_the_algorithm_asked_for(registry: FakeRegistry, client: UpstreamClient) -> None:
    held = image()
    digest = digest_of(held.body, "sha512")
    registry.repository("library/app").manifests[str(digest)] = held.manifest

    fetched = await client.get_manifest("library/app", digest, max_size=10_000)

    assert fetched.digest.encoded == hashlib.sha512(held.body).hexdigest()


async def test_another_manifest_than_asked_for(registry: FakeRegistry, client: UpstreamClient) -> None:
    held = registry.add_image("library/app", image(), tag=TAG)
    registry.faults.add(wrong_byte(5))

    with pytest.raises(UpstreamMisbehaved, match=held.digest):
        await client.get_manifest("library/app", parse_digest(held.digest), max_size=10_000)


async def test_a_manifest_that_is_too_large(registry: FakeRegistry, client: UpstreamClient) -> None:
    held = registry.add_image("library/app", image(), tag=TAG)

    with pytest.raises(UpstreamMisbehaved, match="larger than"):
        await client.get_manifest("library/app", TAG, max_size=len(held.body) - 1)


async def test_schema_1_is_returned_with_its_type(registry: FakeRegistry, client: UpstreamClient) -> None:
    registry.add_manifest("library/old", schema1_manifest(), tag=TAG)

    assert (await client.get_manifest("library/old", TAG, max_size=10_000)).media_type == DOCKER_SCHEMA1


@pytest.mark.parametrize(("body", "content_type"), [(b"<html>", "text/html; charset=utf-8"), (b"hello", "text/plain")])
async def test_what_is_no_manifest(
    registry: FakeRegistry, client: UpstreamClient, body: bytes, content_type: str
) -> None:
    registry.faults.add(answer(200, body, Content_Type=content_type))

    with pytest.raises(UpstreamMisbehaved):
        await client.get_manifest("library/app", TAG, max_size=10_000)


async def test_events_of_an_answer(registry: FakeRegistry, client: UpstreamClient, seen: list[Event]) -> None:
    registry.add_image("library/app", image(), tag=TAG)
    registry.rate_limit = RateLimit(remaining=20)

    await client.get_manifest("library/app", TAG, max_size=10_000)

    assert seen == [
        UpstreamAnswered(upstream="fake.example", kind="manifest", method="GET", status=200, seconds=0.0),
        RateLimitSeen(upstream="fake.example", remaining=19),
    ]
