"""The same registry and cache that the real clients use."""

from tests.clients.fixtures import cache, content, upstreams

__all__ = ["cache", "content", "upstreams"]
