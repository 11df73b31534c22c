import asyncio
import logging
from pathlib import Path

from proxycache.maintenance.expire_origins import expire_origins
from proxycache.oci.digest import digest_of
from proxycache.store.database import Database
from proxycache.store.expiry import KEEP_SECONDS
from proxycache.store.layout import Layout
from proxycache.store.leases import Leases
from proxycache.store.origins import Origin
from proxycache.store.tables import Tables
from tests.fakes.clock import FakeClock


class Heard(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[logging.LogRecord] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record)


async def test_what_is_old_is_forgotten_at_the_start_and_told(tmp_path: Path) -> None:
    layout, clock, heard = Layout(tmp_path / "store"), FakeClock(), Heard()
    layout.prepare()
    database = await Database.open(layout.database)
    tables = Tables.of(database)
    layer = digest_of(b"layer")
    for repository, age in (("docker.io/library/old", KEEP_SECONDS + 1), ("docker.io/library/new", KEEP_SECONDS - 1)):
        origin = Origin(digest=layer, repository=repository, size=5, media_type="any", seen_at=clock.now() - age)
        await tables.origins.record(origin)
    logger = logging.getLogger(expire_origins.__module__)
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)

    running = asyncio.ensure_future(expire_origins(tables.expiry, Leases(layout), clock))  # noqa: TID251 - ended below
    try:
        async with asyncio.timeout(10):
            line = await heard.lines.get()
        left = await tables.origins.list_origins(layer)
    finally:
        running.cancel()
        await asyncio.wait([running])
        logger.removeHandler(heard)
        logger.setLevel(logging.NOTSET)
        await database.close()

    assert (line.getMessage(), line.__dict__["entries"]) == ("old origins forgotten", 1)
    assert [each.repository for each in left] == ["docker.io/library/new"]
