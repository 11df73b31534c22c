"""The same registry and cache that the real clients use."""

from tests.clients.fixtures import auth, cache, content, upstreams

__all__ = ["auth", "cache", "content", "upstreams"]
