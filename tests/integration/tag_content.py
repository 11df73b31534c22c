"""What the tests of tags pull, and how they count what that cost."""

from tests.builders import image
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.harness import Cache

NAME = "library/alpine"
FRESH_FOR = 300.0
ONE, TWO = image(seed="one"), image(seed="two")


def manifest_requests(registry: FakeRegistry) -> list[str]:
    return [seen.method for seen in registry.requests if "/manifests/" in seen.path]


async def hold(cache: Cache, upstream: FakeRegistry, *, tag: str = "3") -> None:
    """Let the cache hold ONE under the tag, and the upstream forget that it was asked."""
    upstream.add_image(NAME, ONE, tag=tag)
    assert (await cache.get_manifest(NAME, tag)).body == ONE.body
    upstream.requests.clear()
