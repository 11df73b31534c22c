"""The store of a cache that runs or not, as a command sees it from outside of its processes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from proxycache.cli.options import settings_loader
from proxycache.config.model import Settings
from proxycache.oci.names import Tag, parse_tag
from proxycache.policy.routing import RoutingTable, choose_route
from proxycache.store.database import Database
from proxycache.store.errors import StoreUnusable
from proxycache.store.layout import Layout
from proxycache.store.tables import Tables

T = TypeVar("T")


def load(config: Path | None, directory: str | None) -> Settings:
    """Return the effective settings; raises ConfigError."""
    return settings_loader(config, listen=None, directory=directory, workers=None, offline=None)().settings


def with_tables(settings: Settings, work: Callable[[Tables], Awaitable[T]]) -> T:
    """Run `work` on the tables of the cache that `settings` mean; raises StoreError, also where there is none."""
    layout = Layout(settings.storage.directory)
    if not layout.format.exists():
        raise StoreUnusable(layout.directory, "no cache is there; say which by --directory or --config")
    layout.prepare()

    async def run() -> T:
        database = await Database.open(layout.database)
        try:
            return await work(Tables.of(database))
        finally:
            await database.close()

    return asyncio.run(run())


def parse_image(settings: Settings, text: str) -> tuple[str, Tag | None]:
    """Return the canonical name and the tag that `NAME[:TAG]` means; raises NameInvalid, NameUnknown or TagInvalid."""
    head, slash, last = text.rpartition("/")
    last, colon, tag = last.partition(":")
    table = RoutingTable(
        upstreams=frozenset(settings.upstreams),
        default_upstream=settings.default_upstream,
        local_namespaces=settings.local.namespaces,
        own_hosts=frozenset(),
    )
    route = choose_route(table, head + slash + last, None)
    return str(route.name), parse_tag(tag) if colon else None
