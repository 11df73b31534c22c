"""`proxycache collect`: remove what was pushed and nothing needs any more, now; beside a running cache as well."""

from typing import Annotated

import typer

from proxycache.cli.opened_store import find_layout, load, with_tables
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.clock import SystemClock
from proxycache.maintenance.collect import LEASE, Collected, Collector
from proxycache.store.blobs import BlobStore
from proxycache.store.garbage import Foreseen
from proxycache.store.layout import Layout
from proxycache.store.leases import Leases
from proxycache.store.tables import Tables
from proxycache.store.uploads import Uploads


def collect(
    *,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
) -> None:
    """Remove what was pushed and no manifest needs, an hour after the last push; exit code 1 if some is being read."""
    settings = load(config, directory)
    layout = find_layout(settings)

    async def run(tables: Tables) -> Collected | Foreseen:
        collector = _build_collector(layout, tables)
        if dry_run:
            return await collector.foresee()
        async with Leases(layout).claim(LEASE):  # what a worker removes at this moment is not being read
            return await collector.collect()

    _tell(with_tables(settings, run))


def _build_collector(layout: Layout, tables: Tables) -> Collector:
    clock = SystemClock()
    return Collector(
        garbage=tables.garbage,
        usage=tables.usage,
        blobs=BlobStore(layout),
        list_uploading=Uploads(layout, clock).open_repositories,
        clock=clock,
    )


def _tell(result: Collected | Foreseen) -> None:
    verb = "would collect" if isinstance(result, Foreseen) else "collected"
    typer.echo(f"{verb} {result.links} links, {result.blobs} blobs, {result.size} bytes")
    if isinstance(result, Collected) and result.stayed:
        typer.echo(f"{result.stayed} blobs stay: they are being read; they go the next time", err=True)
        raise typer.Exit(1)
