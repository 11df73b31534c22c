"""Settings become jobs, built anew when these change."""

import asyncio
import itertools
import os
from collections.abc import Iterable
from urllib.parse import urlsplit

from proxycache.app.parts import Parts
from proxycache.config.errors import ConfigError
from proxycache.config.model import Settings
from proxycache.maintenance.collect import Collector
from proxycache.policy.routing import RoutingTable
from proxycache.registry.access import Access, Upstream
from proxycache.registry.authority import Authority
from proxycache.registry.borrow import Borrower
from proxycache.registry.delete_content import ContentRemover
from proxycache.registry.fill_blob import Fills
from proxycache.registry.keep_manifest import ManifestKeeper
from proxycache.registry.list_referrers import ReferrerLister
from proxycache.registry.list_repositories import RepositoryLister
from proxycache.registry.list_tags import TagLister
from proxycache.registry.mount_blob import BlobMounter
from proxycache.registry.pace import Pace
from proxycache.registry.permits import Permits
from proxycache.registry.presence import Presence, Shared
from proxycache.registry.pull_blob import BlobPuller
from proxycache.registry.pull_local import LocalPuller, LocalServices
from proxycache.registry.pull_manifest import ManifestPuller
from proxycache.registry.push_blob import BlobPusher, UploadServices
from proxycache.registry.push_manifest import ManifestPusher, PushServices
from proxycache.registry.report_push import PushReporter, ReportServices
from proxycache.registry.resolve_tag import TagResolver
from proxycache.store.database import Database
from proxycache.store.errors import StoreError
from proxycache.upstream.client import UpstreamClient
from proxycache.web.answers import AnswerMemory
from proxycache.web.exchange import Services
from proxycache.web.forwarding import Proxies


def build_services(settings: Settings, parts: Parts) -> Services:
    """Return the jobs as `settings` want them; built anew when these change. Raises ConfigError.

    Transfers keep the clients they have, which close when the last of them has ended.
    """
    upstreams = _renew_upstreams(settings, parts)
    fill_services, tables, recorder = parts.fill_services, parts.tables, parts.fill_services.recorder
    permits = Permits(settings.auth, _routing_table(settings), is_loopback_only=settings.server.is_loopback_only)
    access = Access(permits, upstreams, tables, recorder, parts.clock)
    shared = _what_is_shared(settings, upstreams.values())
    presence = Presence(fill_services.blobs, tables, recorder, parts.uses, shared=shared)
    blobs = BlobPuller(presence, Fills(fill_services), fill_services)
    manifests = _build_manifest_puller(settings, parts, presence)
    borrower = Borrower(access, tables.origins, manifests, parts.clock, lenders=settings.local.lenders)
    mounter = BlobMounter(fill_services.blobs, tables, access, borrower, parts.clock)
    return Services(
        access=access,
        authority=Authority(settings.auth, permits, parts.sign_in_files, parts.clock),
        proxies=Proxies(settings.server.trusted_proxies, public_url=settings.server.public_url),
        blobs=blobs,
        manifests=manifests,
        borrower=borrower,
        local=_build_local_puller(settings, parts, presence, blobs, borrower),
        mounts=mounter,
        uploads=_build_blob_pusher(parts),
        manifest_pusher=_build_manifest_pusher(settings, parts, mounter, borrower),
        remover=ContentRemover(tables.local_content, parts.clock),
        tags=TagLister(tables, recorder),
        referrers=ReferrerLister(tables, recorder, parts.clock, max_size=settings.local.max_manifest_size),
        repositories=RepositoryLister(tables, access),
        metrics=parts.metrics,
        memory=AnswerMemory(),
        note_use=parts.uses.note,
        revocations=_Revocations(parts.database),
        is_ready=lambda: _is_ready(parts),
        now=parts.clock.now,
        max_manifest_size=settings.local.max_manifest_size,
    )


def _renew_upstreams(settings: Settings, parts: Parts) -> dict[str, Upstream]:
    """Return the upstreams with new clients, and let the ones that there were until now end their transfers."""
    upstreams = {name: _build_upstream(name, settings, parts) for name in settings.upstreams}
    for client in parts.clients:
        parts.tasks.detach("retire upstream client", client.retire())
    parts.clients[:] = [upstream.client for upstream in upstreams.values()]
    return upstreams


def _what_is_shared(settings: Settings, upstreams: Iterable[Upstream]) -> Shared:
    if settings.auth.is_configured:
        return Shared.NOTHING
    return Shared.ALL if all(upstream.is_public for upstream in upstreams) else Shared.PUBLIC


def _build_manifest_puller(settings: Settings, parts: Parts, presence: Presence) -> ManifestPuller:
    fill_services, recorder = parts.fill_services, parts.fill_services.recorder
    keeper = ManifestKeeper(
        fill_services.blobs,
        recorder,
        fill_services.room,
        fill_services.unkept,
        max_size=settings.local.max_manifest_size,
    )
    resolver = TagResolver(recorder, parts.leases, keeper, parts.clock)
    return ManifestPuller(presence, recorder, resolver, keeper, parts.leases)


def _build_local_puller(
    settings: Settings, parts: Parts, presence: Presence, blobs: BlobPuller, borrower: Borrower
) -> LocalPuller:
    return LocalPuller(
        LocalServices(
            blobs=parts.fill_services.blobs,
            tables=parts.tables,
            puller=blobs,
            presence=presence,
            borrower=borrower,
            note_use=parts.uses.note,
            clock=parts.clock,
            all_is_public=not settings.auth.is_configured,
        )
    )


def _build_manifest_pusher(
    settings: Settings, parts: Parts, mounter: BlobMounter, borrower: Borrower
) -> ManifestPusher:
    return ManifestPusher(
        PushServices(
            blobs=parts.fill_services.blobs,
            content=parts.tables.local_content,
            recorder=parts.fill_services.recorder,
            mounter=mounter,
            borrower=borrower,
            reporter=_build_reporter(parts, borrower),
            clock=parts.clock,
            is_sparse=settings.local.sparse,
        )
    )


def _build_reporter(parts: Parts, borrower: Borrower) -> PushReporter:
    return PushReporter(
        ReportServices(
            tables=parts.tables,
            blobs=parts.fill_services.blobs,
            borrower=borrower,
            events=parts.events,
            tasks=parts.tasks,
        )
    )


def build_collector(parts: Parts) -> Collector:
    """Return what removes owned content that nothing needs."""
    return Collector(
        garbage=parts.tables.garbage,
        usage=parts.tables.usage,
        blobs=parts.fill_services.blobs,
        list_uploading=parts.uploads.open_repositories,
        clock=parts.clock,
    )


def _build_blob_pusher(parts: Parts) -> BlobPusher:
    fill_services = parts.fill_services
    return BlobPusher(
        UploadServices(
            uploads=parts.uploads,
            blobs=fill_services.blobs,
            pumps=fill_services.pumps,
            recorder=fill_services.recorder,
            room=fill_services.room,
            local=parts.tables.local_content,
            events=parts.events,
            clock=parts.clock,
            tasks=parts.tasks,
        )
    )


def _build_upstream(name: str, settings: Settings, parts: Parts) -> Upstream:
    configured = settings.upstreams[name]
    try:
        client = UpstreamClient(configured.client, events=parts.events, clock=parts.clock, via=parts.via)
    except ValueError as error:  # a file that could be read when the configuration was loaded
        raise ConfigError(f"upstream {name}", str(error)) from error
    bandwidth = configured.client.bandwidth
    pace = None
    if bandwidth.is_limited:
        pace = Pace(bandwidth=bandwidth, line=parts.lines.of(name), clock=parts.clock)
    return Upstream(
        client=client,
        freshness=configured.freshness,
        rules=configured.rules,
        is_offline=settings.server.offline,
        pace=pace,
    )


def _routing_table(settings: Settings) -> RoutingTable:
    own_hosts = {str(address) for address in settings.server.listen}
    own_hosts |= {f"localhost:{address.port}" for address in settings.server.listen}
    if settings.server.public_url:
        own_hosts.add(urlsplit(settings.server.public_url).netloc.lower())
    return RoutingTable(
        upstreams=frozenset(settings.upstreams),
        default_upstream=settings.default_upstream,
        local_namespaces=settings.local.namespaces,
        own_hosts=frozenset(own_hosts),
    )


class _Revocations:
    """Tells whether anything was taken back since; in trouble no moment is like another.

    The database is asked once for all requests that the event loop has already received: whoever is answered before
    `_forget` runs had sent its request before the question was asked, so nothing acknowledged before is missed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._troubles = itertools.count(-1, -1)
        self._known: int | None = None

    def __call__(self) -> int:
        if self._known is None:
            self._known = self._ask()
            asyncio.get_running_loop().call_soon(self._forget)
        return self._known

    def _ask(self) -> int:
        try:
            return self._database.revocations()
        except StoreError:
            return next(self._troubles)

    def _forget(self) -> None:
        self._known = None


def _is_ready(parts: Parts) -> bool:
    try:
        parts.database.generation()
    except StoreError:
        return False
    return os.access(parts.layout.spools, os.W_OK)
