"""What a worker has for its whole life: the store and what belongs to it; what opens first closes last."""

import asyncio
import contextlib
import hashlib
import platform
from collections.abc import AsyncIterator
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.config.model import Settings
from proxycache.events import Events
from proxycache.observe.logs import log_event
from proxycache.observe.metrics import Metrics
from proxycache.registry.authority import SignInFiles
from proxycache.registry.fill_blob import FillServices
from proxycache.registry.learn_layers import LayerLearner
from proxycache.registry.make_room import RoomMaker, RoomServices
from proxycache.registry.note_unkept import Unkept
from proxycache.registry.note_use import Uses
from proxycache.registry.record import Recorder
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
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
    layers: LayerLearner
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
    layers = LayerLearner(tables, blobs, tasks)
    events.subscribe(layers.note)
    return Parts(
        layout=layout,
        database=database,
        tables=tables,
        events=events,
        metrics=metrics,
        tasks=tasks,
        clock=clock,
        fill_services=fill_services,
        layers=layers,
        leases=leases,
        lines=Lines(layout, clock),
        uploads=Uploads(layout, clock),
        uses=uses,
        sign_in_files=SignInFiles(layout, clock),
        clients=[],
        via=_instance_name(layout),
    )


def _instance_name(layout: Layout) -> str:
    """Return how this cache calls itself in `Via`: the same in all its processes, another for each data directory."""
    status = layout.directory.stat()
    identity = f"{platform.node()} {status.st_dev} {status.st_ino}"
    return f"proxycache-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
