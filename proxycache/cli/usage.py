"""`proxycache usage`: what takes the room, what is borrowed and in danger, what is pinned, and what goes next."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from proxycache.cli.opened_store import load, with_tables
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.clock import SystemClock
from proxycache.store.audits import ImageAtRisk
from proxycache.store.loans import LocalUse
from proxycache.store.tables import Tables
from proxycache.store.usage import NextToGo, RepositoryUse, UpstreamUse

_NEXT = 10
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overview:
    max_size: int
    cached_bytes: int
    owned_bytes: int
    upstreams: list[UpstreamUse]
    repositories: list[RepositoryUse]
    local: list[LocalUse]
    at_risk: list[ImageAtRisk]
    pins: list[tuple[str, str]]
    next: list[NextToGo]


def usage(
    *,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; sizes are in bytes.")] = False,
) -> None:
    """Print what takes the room: by upstream and repository, with what they share, and what goes next."""
    settings = load(config, directory)

    async def look(tables: Tables) -> _Overview:
        repositories = await tables.usage.list_repositories()
        registries = dict.fromkeys(_registry(use) for use in repositories if not use.is_local)
        return _Overview(
            max_size=settings.storage.max_size,
            cached_bytes=await tables.usage.cached_bytes(),
            owned_bytes=await tables.usage.owned_bytes(),
            upstreams=[await tables.usage.find_upstream(registry) for registry in registries],
            repositories=repositories,
            local=await tables.loans.list_use(),
            at_risk=await tables.audits.list_at_risk(now=SystemClock().now()),
            pins=await tables.pins.list_pins(),
            next=await tables.usage.list_next(_NEXT),
        )

    overview = with_tables(settings, look)
    typer.echo(json.dumps(asdict(overview), indent=2) if as_json else "\n".join(_render(overview)))


def _render(overview: _Overview) -> Iterator[str]:
    limit = f"of {_format(overview.max_size)}" if overview.max_size else "without a limit"
    yield f"cached blobs take {_format(overview.cached_bytes)} {limit}"
    yield f"owned blobs take {_format(overview.owned_bytes)}, which do not count there"
    yield from _render_borrowers([use for use in overview.local if use.borrowed_bytes])
    yield from _render_risks(overview.at_risk)
    local = [use for use in overview.repositories if use.is_local]
    if local:
        yield "\npushed here"
        yield from _render_repositories(local)
    for upstream in overview.upstreams:
        shared = f", {_format(upstream.shared_bytes)} of them shared with others" if upstream.shared_bytes else ""
        yield f"\n{upstream.name}: {upstream.blobs} blobs, {_format(upstream.size)}{shared}"
        own = [use for use in overview.repositories if not use.is_local and _registry(use) == upstream.name]
        yield from _render_repositories(own)
    if overview.pins:
        yield "\npinned"
        for name, tag in overview.pins:
            yield f"  {name}{f':{tag}' if tag else ''}"
    if overview.next:
        yield "\nnext to go"
        for blob in overview.next:
            yield f"  {blob.digest}: {_format(blob.size)}, used {blob.uses} times"


def _render_borrowers(borrowers: Sequence[LocalUse]) -> Iterator[str]:
    if borrowers:
        yield "\nborrowed by"
    for use in borrowers:
        borrowed = f"{_format(use.borrowed_bytes)}, {_format(use.cached_bytes)} of them cached"
        yield f"  {use.name}: {borrowed}; {_format(use.owned_bytes)} owned"


def _render_risks(images: Sequence[ImageAtRisk]) -> Iterator[str]:
    if images:
        yield "\nat risk: these depend on an origin that is gone, or has given no answer for a day"
    for image in images:
        yield f"  {image.name}: {image.blobs} blobs of {', '.join(image.origins)}"


def _render_repositories(repositories: Sequence[RepositoryUse]) -> Iterator[str]:
    for use in repositories:
        shared = f", {_format(use.shared_bytes)} of them shared" if use.shared_bytes else ""
        yield f"  {use.name}: {use.tags} tags, {use.blobs} blobs, {_format(use.size)}{shared}"


def _registry(use: RepositoryUse) -> str:
    return use.name.partition("/")[0]


def _format(size: int) -> str:
    amount = float(size)
    for unit in _UNITS[:-1]:
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} {_UNITS[-1]}"
