"""A worker: it serves until it is told to drain."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from proxycache.app.jobs import Jobs, build_jobs
from proxycache.app.parts import Parts, open_parts
from proxycache.app.services import build_collector, build_services
from proxycache.clock import SystemClock
from proxycache.config.errors import ConfigError
from proxycache.maintenance.adopt_borrowed import PushSignal, adopt_borrowed
from proxycache.maintenance.audit_origins import audit_origins
from proxycache.maintenance.collect import collect_garbage
from proxycache.maintenance.evict import evict_ahead
from proxycache.maintenance.expire_origins import expire_origins
from proxycache.maintenance.expire_spools import expire_spools
from proxycache.maintenance.expire_uploads import expire_uploads
from proxycache.maintenance.find_strays import find_strays
from proxycache.maintenance.refresh_bases import refresh_bases
from proxycache.observe.access_log import AccessLog
from proxycache.server.assignment import Assignment
from proxycache.server.listeners import start_sites
from proxycache.server.tls import ServedCertificate
from proxycache.web.bad_requests import server_logger
from proxycache.web.edge import Edge

logger = logging.getLogger(__name__)

_KEEPALIVE_SECONDS = 75.0
_CLOSE_SECONDS = 0.1
_DISK_THREADS = 32


async def run_worker(assignment: Assignment) -> None:
    """Serve until told to drain; returns when the last transfer has ended or was cut."""
    settings = assignment.loaded.settings
    widen_disk_pool()
    stop = asyncio.Event()
    served = ServedCertificate(assignment.loaded.certificate)
    async with open_parts(settings, SystemClock()) as parts:
        access_log = AccessLog(settings.log)
        edge = Edge(build_services(settings, parts), access_log, via=parts.via)
        jobs = build_jobs(settings, parts, edge.services)

        def reload() -> None:
            nonlocal jobs
            try:
                fresh = assignment.load_again()
                edge.services = build_services(fresh.settings, parts)
                jobs = build_jobs(fresh.settings, parts, edge.services)
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
        _look_after_borrowed(parts, lambda: jobs)
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


def _look_after_borrowed(parts: Parts, current: Callable[[], Jobs]) -> None:
    """Start what runs behind requests for bases and what is borrowed, as the `current` configuration wants it."""
    pushed = PushSignal()
    parts.events.subscribe(pushed.note)
    tasks, leases = parts.tasks, parts.leases
    tasks.detach("refresh bases", refresh_bases(lambda: current().refresher, leases))
    tasks.detach("audit origins", audit_origins(lambda: current().auditor, leases, parts.clock))
    tasks.detach("expire origins", expire_origins(parts.tables.expiry, leases, parts.clock))
    tasks.detach("adopt borrowed", adopt_borrowed(lambda: current().adoption, leases, pushed))


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
