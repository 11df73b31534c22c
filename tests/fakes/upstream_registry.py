"""A registry that really speaks the protocol, counts what it is asked, and fails as it is told to.

    async with FakeRegistry() as registry:                 in the test's own event loop
        registry.add_image("library/alpine", image(), tag="3")
    with ThreadedRegistry() as registry:                   in a thread, for tests with worker processes

`registry.url`, `registry.requests`, `registry.count("GET", digest)`; faults as `tests/fakes/faults.py` says, for
the registry by `registry.faults`, for the host it redirects to by `registry.cdn.faults`. The attributes of
`FakeRegistry` say how it behaves in general.
"""

import asyncio
import json
import re
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.builders import DOCKER_SCHEMA1, OCI_INDEX, Content, Image, blob
from tests.fakes.auth import Auth, TokenAuth
from tests.fakes.cdn import FakeCdn
from tests.fakes.faults import Fault, Pacer
from tests.fakes.listener import Listener
from tests.fakes.sending import send

T = TypeVar("T")

_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<what>manifests|blobs|referrers|tags)/(?P<reference>[^/]+)")


@dataclass(slots=True)
class FakeRepository:
    """What one repository holds."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Content] = field(default_factory=dict)
    blobs: dict[str, Content] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class RateLimit:
    """Docker Hub's pull limit: manifest GETs count, HEAD does not."""

    limit: int = 100
    remaining: int = 100
    window_seconds: int = 21600

    def headers(self) -> dict[str, str]:
        return {
            "ratelimit-limit": f"{self.limit};w={self.window_seconds}",
            "ratelimit-remaining": f"{self.remaining};w={self.window_seconds}",
        }


class FakeRegistry(Listener):
    """One upstream with its content, and the host that it may redirect to."""

    def __init__(self) -> None:
        super().__init__(self._serve_request)
        self.repositories: dict[str, FakeRepository] = {}
        self.auth: Auth | None = None
        self.cdn = FakeCdn(self._find_anywhere)
        self.redirects: set[str] = set()  # "blobs", "manifests"
        self.relative_redirects = False  # to a path of this host, with no need to authenticate
        self.head_refused: set[str] = set()  # "blobs", "manifests": HEAD gets 405
        self.referrers = "api"  # "off": 404, "redirect": 303 to another host
        self.pages_tags = True  # False: `n` and `last` are ignored, as docker-registry 2.8 does
        self.page_size = 1000
        self.link_form = "relative"  # "absolute", "other-host", "query"
        self.rate_limit: RateLimit | None = None
        self.pacer: Pacer | None = None  # bandwidth of all blobs together

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, at the ports of before if there were any."""
        await super().start()
        await self.cdn.start()

    async def stop(self) -> None:
        """Be gone: refuse connections and end those that there are."""
        await super().stop()
        await self.cdn.stop()

    # --- content ---

    def repository(self, name: str) -> FakeRepository:
        return self.repositories.setdefault(name, FakeRepository())

    def add_image(self, name: str, image: Image, *, tag: str | None = None) -> Image:
        """Hold the image with all its children and blobs, under the tag too if one is given."""
        repository = self.repository(name)
        repository.blobs.update((each.digest, each) for each in image.blobs())
        repository.manifests.update((each.digest, each) for each in image.manifests())
        if tag is not None:
            repository.tags[tag] = image.digest
        return image

    def add_blob(self, name: str, content: Content | int) -> Content:
        """Hold a blob; a number makes one of that size."""
        held = blob(content) if isinstance(content, int) else content
        self.repository(name).blobs[held.digest] = held
        return held

    def add_manifest(self, name: str, content: Content, *, tag: str | None = None) -> Content:
        """Hold a manifest as it is, whether or not what it references is there."""
        self.repository(name).manifests[content.digest] = content
        if tag is not None:
            self.repository(name).tags[tag] = content.digest
        return content

    def _find_anywhere(self, digest: str) -> Content | None:
        for repository in self.repositories.values():
            found = repository.blobs.get(digest) or repository.manifests.get(digest)
            if found is not None:
                return found
        return None

    # --- requests ---

    async def _serve_request(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        if request.path == "/token" and isinstance(self.auth, TokenAuth):
            return self.auth.serve_token(self.requests[-1])
        if request.path.startswith("/direct/"):
            found = self._find_anywhere(request.path.rpartition("/")[2])
            return await send(request, found.body, {}, fault) if found else _error(404, "BLOB_UNKNOWN")
        matched = _PATH.fullmatch(request.path)
        name = matched["repository"] if matched else ""
        refusal = self.auth.refuse(request, name) if self.auth is not None else None
        if refusal is not None:
            return refusal
        if matched is None:
            return web.json_response({}) if request.path == "/v2/" else _error(404, "UNSUPPORTED")
        return await self._serve_content(request, fault, (name, matched["what"], matched["reference"]))

    async def _serve_content(
        self, request: web.BaseRequest, fault: Fault, asked: tuple[str, str, str]
    ) -> web.StreamResponse:
        name, what, reference = asked
        repository = self.repositories.get(name)
        if repository is None:
            return _error(404, "NAME_UNKNOWN")
        match what:
            case "tags":
                return self._list_tags(request, name, repository)
            case "referrers":
                return self._list_referrers(request, repository, reference)
            case "manifests":
                digest = repository.tags.get(reference, reference)
                found, code = repository.manifests.get(digest), "MANIFEST_UNKNOWN"
            case _:
                found, code = repository.blobs.get(reference), "BLOB_UNKNOWN"
        if request.method == "HEAD" and what in self.head_refused:
            return _error(405, "UNSUPPORTED")
        return await self._send_content(request, fault, (what, found)) if found is not None else _error(404, code)

    async def _send_content(
        self, request: web.BaseRequest, fault: Fault, asked: tuple[str, Content]
    ) -> web.StreamResponse:
        what, found = asked
        if what in self.redirects:
            location = f"/direct/{found.digest}" if self.relative_redirects else self.cdn.sign(found.digest)
            return web.Response(status=307, headers={"Location": location})
        headers = {"Docker-Content-Digest": found.digest, "ETag": f'"{found.digest}"'}
        if what == "blobs":
            headers["Content-Type"] = "application/octet-stream"
            return await send(request, found.body, headers, fault, pacer=self.pacer)
        if not _accepts(request, found.media_type):
            return _error(404, "MANIFEST_UNKNOWN")
        if self.rate_limit is not None:
            if request.method == "GET" and self.rate_limit.remaining == 0:
                return _error(429, "TOOMANYREQUESTS", **self.rate_limit.headers())
            self.rate_limit.remaining -= request.method == "GET"
            headers.update(self.rate_limit.headers())
        headers["Content-Type"] = found.media_type
        return await send(request, found.body, headers, fault)

    def _list_tags(self, request: web.BaseRequest, name: str, repository: FakeRepository) -> web.Response:
        if not self.pages_tags:
            return web.json_response({"name": name, "tags": sorted(repository.tags)})
        count = min(int(request.query.get("n", self.page_size)), self.page_size)
        following = [tag for tag in sorted(repository.tags) if tag > request.query.get("last", "")]
        page, headers = following[:count], {}
        if len(following) > count and page:
            query = f"?last={page[-1]}&n={count}"
            path = f"/v2/{name}/tags/list{query}"
            targets = {"relative": path, "absolute": self.url + path, "query": query}
            target = targets.get(self.link_form, f"https://other.example{path}")
            headers["Link"] = f'<{target}>; rel="next"'
        return web.json_response({"name": name, "tags": page}, headers=headers)

    def _list_referrers(self, request: web.BaseRequest, repository: FakeRepository, subject: str) -> web.Response:
        if self.referrers == "redirect":
            return web.Response(status=303, headers={"Location": f"{self.cdn.url}/referrers"})
        if self.referrers == "off":
            return _error(404, "UNSUPPORTED")
        wanted = request.query.get("artifactType")
        found = [each for each in _describe_referrers(repository, subject) if wanted in (None, each["artifactType"])]
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}).encode()
        headers = {"Content-Type": OCI_INDEX} | ({"OCI-Filters-Applied": "artifactType"} if wanted else {})
        return web.Response(body=body, headers=headers)


class ThreadedRegistry(FakeRegistry):
    """A fake registry with an event loop of its own, in a thread; content and faults may be set from outside."""

    _loop: asyncio.AbstractEventLoop
    _thread: threading.Thread

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake registry", daemon=True)
        self._thread.start()
        self.run(self.start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run(self.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work`, for instance `registry.stop()`, in the registry's thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


def _error(status: int, code: str, **headers: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": code.lower()}]}, status=status, headers=headers)


def _accepts(request: web.BaseRequest, media_type: str) -> bool:
    asked = ",".join(request.headers.getall("Accept", ["*/*"]))
    return media_type in asked or "*/*" in asked or media_type == DOCKER_SCHEMA1


def _describe_referrers(repository: FakeRepository, subject: str) -> list[dict[str, Any]]:
    descriptors = []
    for manifest in repository.manifests.values():
        document = json.loads(manifest.body)
        if document.get("subject", {}).get("digest") == subject:
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType", "")
            annotations = document.get("annotations", {})
            descriptors.append(manifest.descriptor(artifactType=kind, annotations=annotations))
    return descriptors
