"""Tag lists and referrers of an upstream."""

from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from proxycache.oci.digest import Digest
from proxycache.oci.links import parse_next_link
from proxycache.oci.media_types import OCI_INDEX
from proxycache.oci.names import RepositoryName
from proxycache.upstream.bodies import decode_json, read_body
from proxycache.upstream.errors import UpstreamMisbehaved
from proxycache.upstream.source import Question, Source
from proxycache.upstream.transport import REDIRECTS

MAX_LIST_BYTES = 8 * 1024 * 1024
MAX_PAGES = 20
NO_REFERRERS_API = (400, 404, 405, 501, *REDIRECTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPage:
    """Some tags; `next_last` and `next_n` ask for the page behind this one, None where it is the last."""

    tags: list[str]
    next_last: str | None
    next_n: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedReferrers:
    """The descriptors of all referrers, as they were sent."""

    manifests: list[dict[str, Any]]


class TagList(msgspec.Struct):
    """The body of a page of tags; some registries write null for none."""

    tags: list[str] | None


class ReferrerList(msgspec.Struct):
    """The body of a page of referrers: an image index."""

    manifests: list[dict[str, Any]]


async def list_tags(
    source: Source, repository: RepositoryName, *, n: int | None, last: str | None, is_anonymous: bool = False
) -> TagPage:
    """Return a page of tags (distribution-spec end-8); the page sizes that upstreams allow differ."""
    query = {name: str(value) for name, value in (("n", n), ("last", last)) if value is not None}
    question = Question(
        kind="tags", repository=repository, path="tags/list", query=query, accepted=(200,), is_anonymous=is_anonymous
    )
    async with await source.ask(question) as response:
        body = await read_body(source.upstream, response, max_size=MAX_LIST_BYTES)
        following = _next_query(response)
    tags = decode_json(source.upstream, body, TagList).tags or []
    if following is None:
        return _cut_page(tags, n=n, last=last)
    next_n = following.get("n", "")
    return TagPage(
        tags=tags,
        next_last=following.get("last") or (tags[-1] if tags else None),
        next_n=int(next_n) if next_n.isascii() and next_n.isdigit() and len(next_n) < 10 else None,
    )


def _cut_page(tags: list[str], *, n: int | None, last: str | None) -> TagPage:
    """Return the page that was asked for, also where all tags came instead, as docker-registry 2.8 sends them."""
    is_whole_list = (n is not None and len(tags) > n) or (last is not None and last in tags)
    if not is_whole_list:
        return TagPage(tags=tags, next_last=None, next_n=None)
    rest = sorted(tag for tag in tags if last is None or tag > last)
    if n is None or len(rest) <= n:
        return TagPage(tags=rest, next_last=None, next_n=None)
    return TagPage(tags=rest[:n], next_last=rest[n - 1] if n else None, next_n=n)


async def get_referrers(source: Source, repository: RepositoryName, digest: Digest) -> FetchedReferrers | None:
    """Return all referrers (distribution-spec end-12a), None where the upstream does not know the question.

    ghcr.io says so by a redirect to another site, which is not followed.
    """
    manifests: list[dict[str, Any]] = []
    query: dict[str, str] = {}
    for _ in range(MAX_PAGES):
        async with await source.ask(_referrers_question(repository, digest, query)) as response:
            if response.status != 200 or not response.headers.get("Content-Type", "").startswith(OCI_INDEX):
                return None
            body = await read_body(source.upstream, response, max_size=MAX_LIST_BYTES)
            following = _next_query(response)
        manifests += decode_json(source.upstream, body, ReferrerList).manifests
        if following is None:
            return FetchedReferrers(manifests=manifests)
        query = following
    raise UpstreamMisbehaved(source.upstream, f"more than {MAX_PAGES} pages of referrers")


def _referrers_question(repository: RepositoryName, digest: Digest, query: dict[str, str]) -> Question:
    return Question(
        kind="referrers",
        repository=repository,
        path=f"referrers/{digest}",
        query=query,
        headers={"Accept": OCI_INDEX},
        accepted=(200, *NO_REFERRERS_API),
        leaves_host=False,
    )


def _next_query(response: aiohttp.ClientResponse) -> dict[str, str] | None:
    return parse_next_link(", ".join(response.headers.getall("Link", ())))
