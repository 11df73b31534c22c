"""Manifests of an upstream: the exact bytes, with the digest that they really have (invariant 10)."""

from dataclasses import dataclass

import aiohttp

from proxycache.oci.digest import Digest, digest_of, parse_digest
from proxycache.oci.errors import DigestInvalid, ManifestInvalid
from proxycache.oci.manifest import manifest_media_type
from proxycache.oci.media_types import MANIFEST_ACCEPT, is_media_type
from proxycache.oci.names import Reference, RepositoryName
from proxycache.upstream.bodies import read_body
from proxycache.upstream.errors import UpstreamMisbehaved
from proxycache.upstream.source import Question, Source

HEAD_BY_GET_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHead:
    """What an upstream says of a manifest; `digest` and `size` are None where it does not say."""

    digest: Digest | None
    media_type: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedManifest:
    """A manifest as it was sent."""

    digest: Digest
    media_type: str
    body: bytes


async def head_manifest(
    source: Source, repository: RepositoryName, reference: Reference, *, is_anonymous: bool = False
) -> ManifestHead:
    """Ask what `reference` is, without the body; most registries do not count this as a pull.

    A registry that refuses HEAD as such (405) is asked for the bytes, which then count for nothing else.
    """
    question = _question("HEAD", repository, reference, is_anonymous=is_anonymous, accepted=(200, 405))
    async with await source.ask(question) as response:
        if response.status == 405:
            return await _head_by_get(source, repository, reference, is_anonymous=is_anonymous)
        try:
            digest = parse_digest(response.headers.get("Docker-Content-Digest", ""))
        except DigestInvalid:
            digest = None
        return ManifestHead(
            digest=reference if isinstance(reference, Digest) else digest,
            media_type=_media_type(source, response),
            size=response.content_length,
        )


async def get_manifest(
    source: Source, repository: RepositoryName, reference: Reference, *, max_size: int, is_anonymous: bool = False
) -> FetchedManifest:
    """Return the manifest; raises UpstreamMisbehaved if it is too large or is not the one asked for."""
    async with await source.ask(_question("GET", repository, reference, is_anonymous=is_anonymous)) as response:
        body = await read_body(source.upstream, response, max_size=max_size)
        content_type = _content_type(source, response)
    algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
    digest = digest_of(body, algorithm)
    if isinstance(reference, Digest) and digest != reference:
        raise UpstreamMisbehaved(source.upstream, f"sent another manifest than {reference}")
    try:
        media_type = manifest_media_type(body, content_type)
    except ManifestInvalid as error:
        raise UpstreamMisbehaved(source.upstream, error.message) from error
    return FetchedManifest(digest=digest, media_type=media_type, body=body)


async def _head_by_get(
    source: Source, repository: RepositoryName, reference: Reference, *, is_anonymous: bool
) -> ManifestHead:
    fetched = await get_manifest(source, repository, reference, max_size=HEAD_BY_GET_BYTES, is_anonymous=is_anonymous)
    return ManifestHead(digest=fetched.digest, media_type=fetched.media_type, size=len(fetched.body))


def _media_type(source: Source, response: aiohttp.ClientResponse) -> str:
    """Return the type that the headers declare; nothing where that is no type."""
    declared = _content_type(source, response).partition(";")[0].strip().lower()
    return declared if is_media_type(declared) else ""


def _content_type(source: Source, response: aiohttp.ClientResponse) -> str:
    content_type = response.headers.get("Content-Type", "")
    if content_type.lower().startswith("text/html"):  # a login page or a captive portal, with status 200
        raise UpstreamMisbehaved(source.upstream, "sent a web page where a manifest was asked for")
    return content_type


def _question(
    method: str,
    repository: RepositoryName,
    reference: Reference,
    *,
    is_anonymous: bool = False,
    accepted: tuple[int, ...] = (200,),
) -> Question:
    return Question(
        kind="manifest",
        method=method,
        repository=repository,
        path=f"manifests/{reference}",
        headers={"Accept": MANIFEST_ACCEPT},
        accepted=accepted,
        is_anonymous=is_anonymous,
    )
