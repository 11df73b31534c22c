"""A manifest is kept with its row, or its room is given back."""

import asyncio
import fcntl
import os
from pathlib import Path

import pytest

from proxycache.events import Events
from proxycache.oci.digest import parse_digest
from proxycache.oci.names import parse_repository
from proxycache.policy.freshness import FreshnessSettings
from proxycache.registry.keep_manifest import ManifestKeeper
from proxycache.registry.note_unkept import Unkept
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.blobs import BlobStore
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.leases import Leases
from proxycache.store.settings import StorageSettings
from proxycache.store.space import Space
from proxycache.store.tables import Tables
from proxycache.tasks import Tasks
from proxycache.upstream.client import FetchedManifest, UpstreamClient
from proxycache.upstream.settings import UpstreamSettings
from tests.builders import image
from tests.fakes.clock import FakeClock
from tests.unit.registry.test_make_room import room_in


async def test_the_room_of_a_manifest_is_given_back_when_keeping_it_is_cancelled(tmp_path: Path) -> None:
    layout, clock = Layout(tmp_path / "data"), FakeClock()
    layout.prepare()
    database = await Database.open(layout.database)
    tables, space = Tables.of(database), Space(layout, StorageSettings(directory=layout.directory))
    recorder = Recorder(tables, Leases(layout), space, clock, Tasks())
    keeper = ManifestKeeper(BlobStore(layout), recorder, room_in(layout, tables, space), Unkept(clock), max_size=2**20)
    wanted = image()
    digest = parse_digest(wanted.digest)
    fetched = FetchedManifest(digest=digest, media_type=wanted.media_type, body=wanted.body)
    folder = layout.blob(digest).parent
    folder.mkdir(parents=True)
    removing = os.open(folder, os.O_RDONLY)
    fcntl.flock(removing, fcntl.LOCK_EX)  # as who removes an old copy: it is waited for

    keeping = asyncio.get_running_loop().create_task(keeper.keep(source_at(clock), fetched))
    while digest not in space.allowance.given:
        await asyncio.sleep(0)
    keeping.cancel()

    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert not space.allowance.given
    os.close(removing)
    space.close()
    await database.close()


def source_at(clock: FakeClock) -> UpstreamRepository:
    """An upstream that nobody asks."""
    settings = UpstreamSettings(name="docker.io", url="http://127.0.0.1:9")
    return UpstreamRepository(
        client=UpstreamClient(settings, events=Events(), clock=clock, via="cache"),
        repository=parse_repository("library/alpine"),
        name="docker.io/library/alpine",
        freshness=FreshnessSettings(),
        is_public=True,
        is_for_anybody=True,
        is_offline=False,
    )
