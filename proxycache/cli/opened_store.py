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


def find_layout(settings: Settings) -> Layout:
    """Return where the cache is that `settings` mean; raises StoreUnusable where there is none."""
    layout = Layout(settings.storage.directory)
    if not layout.format.exists():
        raise StoreUnusable(layout.directory, "no cache is there; say which by --directory or --config")
    return layout


def with_tables(settings: Settings, work: Callable[[Tables], Awaitable[T]]) -> T:
    """Run `work` on the tables of the cache that `settings` mean; raises StoreError, also where there is none."""
    layout = find_layout(settings)
    layout.prepare()

    async def run() -> T:
        database = await Database.open(layout.database)
        try:
            return await work(Tables.of(database))
        finally:
            await database.close()

    return asyncio.run(run())


def routing_table(settings: Settings) -> RoutingTable:
    """Return what decides which repository a name on the command line means."""
    return RoutingTable(
        upstreams=frozenset(settings.upstreams),
        default_upstream=settings.default_upstream,
        local_namespaces=settings.local.namespaces,
        own_hosts=frozenset(),
    )


def split_image(text: str) -> tuple[str, str | None]:
    """Return the name and the tag of `NAME[:TAG]`; a colon before the last slash belongs to a registry's port."""
    head, slash, last = text.rpartition("/")
    last, colon, tag = last.partition(":")
    return head + slash + last, tag if colon else None


def parse_image(settings: Settings, text: str) -> tuple[str, Tag | None]:
    """Return the canonical name and the tag that `NAME[:TAG]` means; raises NameInvalid, NameUnknown or TagInvalid."""
    name, tag = split_image(text)
    route = choose_route(routing_table(settings), name, None)
    return str(route.name), None if tag is None else parse_tag(tag)
