"""`proxycache purge`: drop what is cached and remembered, in a running cache as well."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from proxycache.cli.opened_store import load, with_tables
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.cli.selection import Selection, parse_selection
from proxycache.clock import SystemClock
from proxycache.config.errors import ConfigError
from proxycache.config.units import parse_duration
from proxycache.store.blobs import BlobStore
from proxycache.store.database import batches
from proxycache.store.layout import Layout
from proxycache.store.purge import Purged, Wanted
from proxycache.store.removal import Removed, remove_files
from proxycache.store.tables import Tables
from proxycache.store.usage import Candidate

_SHOWN_ARGUMENT = "NAME[:TAG|@DIGEST]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    purged: Purged
    gone: Sequence[Candidate]
    left: Sequence[Candidate]  # that an earlier purge could not remove
    being_read: int = 0


def purge(
    what: Annotated[
        str,
        typer.Argument(
            metavar=_SHOWN_ARGUMENT,
            help="A tag, a digest, or all that a repository has; * ? ** in names and tags as in allow and deny.",
        ),
    ],
    *,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="Only what was not used for so long.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
) -> None:
    """Drop what is cached and remembered; exit code 1 if nothing is there, or some of it is pinned or being read."""
    settings = load(config, directory)
    selection = parse_selection(settings, what)
    used_before = None if older_than is None else SystemClock().now() - _parse_age(older_than)
    blobs = BlobStore(Layout(settings.storage.directory))

    async def run(tables: Tables) -> _Outcome:
        wanted = await _wanted(tables, selection, used_before)
        purged = await tables.purge.forget(wanted, is_dry=dry_run)
        if dry_run:
            return _Outcome(purged=purged, gone=purged.leaving, left=purged.left)
        gone = await _remove(tables, blobs, purged.leaving)
        left = await _remove_left(tables, blobs, purged.left)
        being_read = len(gone.stayed) + len(left.stayed)
        return _Outcome(purged=purged, gone=gone.gone, left=left.gone, being_read=being_read)

    _tell(selection, with_tables(settings, run), is_dry=dry_run)


def _parse_age(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError("command line", str(error), key="--older-than", value=text) from error


async def _wanted(tables: Tables, selection: Selection, used_before: float | None) -> Wanted:
    held = await tables.repositories.list_names() if selection.names_many else []
    return Wanted(
        names=selection.find_names(held),
        is_tag=selection.names_tag if selection.tag else None,
        digest=selection.digest,
        used_before=used_before,
        spares_pinned=selection.is_pattern,
    )


async def _remove(tables: Tables, blobs: BlobStore, leaving: Sequence[Candidate]) -> Removed:
    """Remove the files, then the rows.

    A blob that somebody reads stays, and keeps its mark: the next purge finds it, or the hourly collection.
    """
    gone, stayed = list[Candidate](), list[Candidate]()
    for some in batches(leaving):
        removed = await remove_files(blobs, tables.usage, some)
        await tables.usage.forget(removed.gone, blobs.has)
        gone += removed.gone
        stayed += removed.stayed
    return Removed(gone=gone, stayed=stayed)


async def _remove_left(tables: Tables, blobs: BlobStore, left: Sequence[Candidate]) -> Removed:
    """Remove what is still needed by nothing, though an earlier purge could not remove it."""
    removed = [await _remove(tables, blobs, await tables.usage.choose_unneeded(some)) for some in batches(left)]
    return Removed(
        gone=[item for each in removed for item in each.gone], stayed=[item for each in removed for item in each.stayed]
    )


def _tell(selection: Selection, outcome: _Outcome, *, is_dry: bool) -> None:
    purged = outcome.purged
    if purged.pinned and not selection.is_pattern:
        reason = f"{purged.pinned} blobs are pinned; see `proxycache usage`, and unpin first"
        typer.echo(f"nothing was purged: {reason}", err=True)
        raise typer.Exit(1)
    if not purged.is_known and not purged.left:
        typer.echo(f"nothing was purged: nothing of {selection} is here", err=True)
        raise typer.Exit(1)
    verb = "would purge" if is_dry else "purged"
    if purged.is_known:
        typer.echo(f"{verb} {_count(outcome.gone)}")
    if outcome.left:
        typer.echo(f"{verb} {_count(outcome.left)}, that had been read while they were purged")
    for name in purged.forgotten if is_dry else ():
        typer.echo(f"  {name}")
    if purged.pinned:
        typer.echo(f"{purged.pinned} blobs stay: they are pinned", err=True)
    if outcome.being_read:
        typer.echo(f"{outcome.being_read} blobs stay: they are being read; ask again later", err=True)
        raise typer.Exit(1)


def _count(blobs: Sequence[Candidate]) -> str:
    return f"{len(blobs)} blobs, {sum(item.size for item in blobs)} bytes"
