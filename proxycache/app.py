"""The composition root of a worker: settings become services; what starts first stops last."""

import asyncio
import contextlib
import hashlib
import itertools
import logging
import os
import platform
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from proxycache.clock import Clock, SystemClock
from proxycache.config.errors import ConfigError
from proxycache.config.model import Settings
from proxycache.events import Events
from proxycache.maintenance.collect import Collector, collect_garbage
from proxycache.maintenance.evict import evict_ahead
from proxycache.maintenance.expire_spools import expire_spools
from proxycache.maintenance.expire_uploads import expire_uploads
from proxycache.maintenance.find_strays import find_strays
from proxycache.observe.access_log import AccessLog
from proxycache.observe.logs import log_event
from proxycache.observe.metrics import Metrics
from proxycache.policy.routing import RoutingTable
from proxycache.registry.access import Access, Upstream
from proxycache.registry.authority import Authority, SignInFiles
from proxycache.registry.delete_content import ContentRemover
from proxycache.registry.fill_blob import Fills, FillServices
from proxycache.registry.keep_manifest import ManifestKeeper
from proxycache.registry.list_referrers import ReferrerLister
from proxycache.registry.list_repositories import RepositoryLister
from proxycache.registry.list_tags import TagLister
from proxycache.registry.make_room import RoomMaker, RoomServices
from proxycache.registry.mount_blob import BlobMounter
from proxycache.registry.note_unkept import Unkept
from proxycache.registry.note_use import Uses
from proxycache.registry.pace import Pace
from proxycache.registry.permits import Permits
from proxycache.registry.presence import Presence
from proxycache.registry.pull_blob import BlobPuller
from proxycache.registry.pull_local import LocalPuller
from proxycache.registry.pull_manifest import ManifestPuller
from proxycache.registry.push_blob import BlobPusher, UploadServices
from proxycache.registry.push_manifest import ManifestPusher, PushServices
from proxycache.registry.record import Recorder
from proxycache.registry.resolve_tag import TagResolver
from proxycache.server.assignment import Assignment
from proxycache.server.listeners import start_sites
from proxycache.server.tls import ServedCertificate
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.errors import StoreError
from proxycache.store.layout import Layout
from proxycache.store.leases import Leases
from proxycache.store.line import Lines
from proxycache.store.pump import Pumps
from proxycache.store.space import Space
from proxycache.store.spool import Spools
from proxycache.store.tables import Tables
from proxycache.store.uploads import Uploads
from proxycache.tasks import Tasks
from proxycache.upstream.client import UpstreamClient
from proxycache.web.answers import AnswerMemory
from proxycache.web.bad_requests import server_logger
from proxycache.web.edge import Edge
from proxycache.web.exchange import Services
from proxycache.web.forwarding import Proxies

logger = logging.getLogger(__name__)

_KEEPALIVE_SECONDS = 75.0
_CLOSE_SECONDS = 0.1
_DISK_THREADS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a worker has for its whole life, whatever the configuration becomes."""

    layout: Layout
    database: Database
    tables: Tables
    events: Events
    metrics: Metrics
    tasks: Tasks
    clock: Clock
    fill_services: FillServices
    leases: Leases
    lines: Lines
    uploads: Uploads
    uses: Uses
    sign_in_files: SignInFiles
    clients: list[UpstreamClient]
    via: str


@contextlib.asynccontextmanager
async def open_parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    """Open the store and what belongs to it; raises StoreError. All is closed, and all work ended, on leaving."""
    layout = Layout(settings.storage.directory)
    layout.prepare()
    database = await Database.open(layout.database)
    parts = _build_parts(settings, layout, database, clock)
    try:
        yield parts
    finally:
        await parts.tasks.close()
        parts.leases.close()
        for client in parts.clients:
            await client.close()
        await database.close()
        await parts.fill_services.room.close()
        parts.lines.close()
        await asyncio.to_thread(parts.sign_in_files.close)
        parts.metrics.close()


def _build_parts(settings: Settings, layout: Layout, database: Database, clock: Clock) -> Parts:
    tables, events, metrics, tasks = Tables.of(database), Events(), Metrics(), Tasks()
    leases, spools, blobs = Leases(layout), Spools(layout, clock), BlobStore(layout)
    space, uses = Space(layout, settings.storage), Uses(tables.usage, clock)
    events.subscribe(metrics.count_event)
    events.subscribe(log_event)
    room_services = RoomServices(
        space=space,
        usage=tables.usage,
        blobs=blobs,
        spools=spools,
        leases=leases,
        uses=uses,
        events=events,
        clock=clock,
    )
    fill_services = FillServices(
        spools=spools,
        blobs=blobs,
        pumps=Pumps(),
        recorder=Recorder(tables, leases, space, clock, tasks),
        room=RoomMaker(room_services),
        unkept=Unkept(clock),
        events=events,
        clock=clock,
        tasks=tasks,
    )
    return Parts(
        layout=layout,
        database=database,
        tables=tables,
        events=events,
        metrics=metrics,
        tasks=tasks,
        clock=clock,
        fill_services=fill_services,
        leases=leases,
        lines=Lines(layout, clock),
        uploads=Uploads(layout, clock),
        uses=uses,
        sign_in_files=SignInFiles(layout, clock),
        clients=[],
        via=_instance_name(layout),
    )


def build_services(settings: Settings, parts: Parts) -> Services:
    """Return the jobs as `settings` want them; built anew when these change. Raises ConfigError.

    Transfers keep the clients they have, which close when the last of them has ended.
    """
    upstreams = {name: _build_upstream(name, settings, parts) for name in settings.upstreams}
    for client in parts.clients:
        parts.tasks.detach("retire upstream client", client.retire())
    parts.clients[:] = [upstream.client for upstream in upstreams.values()]
    fill_services, tables, recorder = parts.fill_services, parts.tables, parts.fill_services.recorder
    max_size = settings.local.max_manifest_size
    has_credentials = any(upstream.client.has_credentials for upstream in upstreams.values())
    all_is_public = not (has_credentials or settings.auth.is_configured)
    permits = Permits(settings.auth, _routing_table(settings), is_loopback_only=settings.server.is_loopback_only)
    access = Access(permits, upstreams, tables, recorder, parts.clock)
    presence = Presence(fill_services.blobs, tables, recorder, parts.uses, all_is_public=all_is_public)
    keeper = ManifestKeeper(fill_services.blobs, recorder, fill_services.room, fill_services.unkept, max_size=max_size)
    resolver = TagResolver(recorder, parts.leases, keeper, parts.clock)
    mounter = BlobMounter(fill_services.blobs, tables, access, parts.clock)
    push_services = PushServices(
        blobs=fill_services.blobs,
        content=tables.local_content,
        recorder=recorder,
        mounter=mounter,
        clock=parts.clock,
        is_sparse=settings.local.sparse,
    )
    return Services(
        access=access,
        authority=Authority(settings.auth, permits, parts.sign_in_files, parts.clock),
        proxies=Proxies(settings.server.trusted_proxies, public_url=settings.server.public_url),
        blobs=BlobPuller(presence, Fills(fill_services), fill_services),
        manifests=ManifestPuller(presence, recorder, resolver, keeper, parts.leases),
        local=LocalPuller(fill_services.blobs, tables, parts.clock, all_is_public=not settings.auth.is_configured),
        mounts=mounter,
        uploads=BlobPusher(_upload_services(parts)),
        manifest_pusher=ManifestPusher(push_services),
        remover=ContentRemover(tables.local_content, parts.clock),
        tags=TagLister(tables, recorder),
        referrers=ReferrerLister(tables, recorder, parts.clock, max_size=max_size),
        repositories=RepositoryLister(tables, access),
        metrics=parts.metrics,
        memory=AnswerMemory(),
        note_use=parts.uses.note,
        revocations=_Revocations(parts.database),
        is_ready=lambda: _is_ready(parts),
        now=parts.clock.now,
        max_manifest_size=max_size,
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


def _upload_services(parts: Parts) -> UploadServices:
    fill_services = parts.fill_services
    return UploadServices(
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


async def run_worker(assignment: Assignment) -> None:
    """Serve until told to drain; returns when the last transfer has ended or was cut."""
    settings = assignment.loaded.settings
    widen_disk_pool()
    stop = asyncio.Event()
    served = ServedCertificate(assignment.loaded.certificate)
    async with open_parts(settings, SystemClock()) as parts:
        access_log = AccessLog(settings.log)
        edge = Edge(build_services(settings, parts), access_log, via=parts.via)

        def reload() -> None:
            try:
                fresh = assignment.load_again()
                edge.services = build_services(fresh.settings, parts)
                served.exchange(fresh.certificate)
            except ConfigError as error:
                logger.error("configuration refused", extra={"why": str(error)})

        assignment.obey(drain=stop.set, reload=reload)
        parts.tasks.detach("expire spools", expire_spools(parts.fill_services.spools))
        parts.tasks.detach("expire uploads", expire_uploads(parts.uploads))
        parts.tasks.detach("collect", collect_garbage(build_collector(parts), parts.leases))
        parts.tasks.detach("evict ahead", evict_ahead(parts.fill_services.room, parts.uses))
        looking = find_strays(parts.fill_services.blobs, parts.tables.usage, parts.leases, parts.clock)
        parts.tasks.detach("find strays", looking)
        server = web.Server(
            edge.handle,
            access_log=None,
            logger=server_logger(),
            keepalive_timeout=_KEEPALIVE_SECONDS,
            handler_cancellation=True,
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        await start_sites(runner, assignment.sockets, tls=served.context)
        assignment.report_ready()
        try:
            await stop.wait()
            await _drain(edge, server, settings.server.drain)
        finally:
            await runner.cleanup()
            access_log.close()


def widen_disk_pool() -> None:
    """Give the loop's disk work enough threads: they wait, for fsync at most, and do not compute.

    asyncio starts 4 more than there are CPUs, so on a small machine the writes of a few fills to a slow disk would
    stand in front of every read of what is held.
    """
    threads = ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="disk")
    asyncio.get_running_loop().set_default_executor(threads)


async def _drain(edge: Edge, server: web.Server, seconds: float) -> None:
    edge.begin_drain()
    try:
        async with asyncio.timeout(seconds):
            await edge.wait_until_idle()
    except TimeoutError:
        logger.warning("transfers cut", extra={"connections": len(server.connections)})
    for connection in server.connections:
        connection.force_close()


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


def _instance_name(layout: Layout) -> str:
    """Return how this cache calls itself in `Via`: the same in all its processes, another for each data directory."""
    status = layout.directory.stat()
    identity = f"{platform.node()} {status.st_dev} {status.st_ino}"
    return f"proxycache-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


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
