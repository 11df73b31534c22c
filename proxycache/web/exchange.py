"""One request and what is known of it on the way to its answer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from proxycache.observe.metrics import Metrics
from proxycache.oci.digest import Digest
from proxycache.registry.access import Access, Caller, Route
from proxycache.registry.authority import Authority
from proxycache.registry.borrow import Borrower
from proxycache.registry.delete_content import ContentRemover
from proxycache.registry.list_referrers import ReferrerLister
from proxycache.registry.list_repositories import RepositoryLister
from proxycache.registry.list_tags import TagLister
from proxycache.registry.mount_blob import BlobMounter
from proxycache.registry.pull_blob import BlobPuller
from proxycache.registry.pull_local import LocalPuller
from proxycache.registry.pull_manifest import ManifestPuller
from proxycache.registry.push_blob import BlobPusher
from proxycache.registry.push_manifest import ManifestPusher
from proxycache.web.answers import AnswerMemory
from proxycache.web.forwarding import Origin, Proxies
from proxycache.web.request_parts import Endpoint, caller_of

# A job's own way out of an upstream that is too slow (what is stale, what is held) comes first.
_GRACE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The jobs that the edge calls; `is_ready` tells whether we can serve.

    `revocations` changes when an answer may no longer be true. `max_manifest_size`: in bytes, of what is pushed.
    """

    access: Access
    authority: Authority
    proxies: Proxies
    blobs: BlobPuller
    manifests: ManifestPuller
    borrower: Borrower
    local: LocalPuller
    mounts: BlobMounter
    uploads: BlobPusher
    manifest_pusher: ManifestPusher
    remover: ContentRemover
    tags: TagLister
    referrers: ReferrerLister
    repositories: RepositoryLister
    metrics: Metrics
    memory: AnswerMemory
    note_use: Callable[[Digest], None]
    revocations: Callable[[], int]
    is_ready: Callable[[], bool]
    now: Callable[[], float]
    max_manifest_size: int


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request, its parsed parts, and what its log line will say.

    `deadline` is until when the answer has to begin, with all that has to be asked before; a body has none.
    """

    request: web.BaseRequest
    services: Services
    endpoint: Endpoint
    route: Route | None = None
    cache: str = ""
    sent_bytes: int = 0
    deadline: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None), init=False)
    _caller: Caller | None = field(default=None, init=False)

    @property
    def caller(self) -> Caller:
        """Who asks."""
        if self._caller is None:
            self._caller = caller_of(self.request, self.services.proxies)
        return self._caller

    @caller.setter
    def caller(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def origin(self) -> Origin:
        """Where the request comes from."""
        return self.services.proxies.origin_of(self.request)

    @property
    def host(self) -> str:
        """The Host header. (Without one, aiohttp's `request.host` looks up this machine's name, and blocks.)"""
        return self.request.headers.get(hdrs.HOST, "")

    @property
    def is_head(self) -> bool:
        """Whether only headers are asked for."""
        return self.request.method == "HEAD"

    @property
    def memory_key(self) -> tuple[str, str, str]:
        """What tells this request from those with another answer."""
        return self.request.method, self.request.raw_path, self.host

    def find_route(self) -> Route:
        """Return where the request leads, and give its upstream `answer_within`; raises NameInvalid or NameUnknown."""
        namespace = self.request.query.get("ns")
        self.route = self.services.access.route(self.endpoint.name, namespace, self.host)
        seconds = self.services.access.answer_within(self.route)
        if seconds is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + seconds + _GRACE_SECONDS)
        return self.route
