"""`proxycache purge`: drop what is cached and remembered, in a running cache as well."""

from typing import Annotated

import typer

from proxycache.cli.opened_store import load, parse_image, with_tables
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.store.blobs import BlobStore
from proxycache.store.layout import Layout
from proxycache.store.tables import Tables


def purge(
    image: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="A tag, or all that a repository has.")],
    *,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
) -> None:
    """Drop what is cached and remembered of a repository or a tag; exit code 1 if some of it is being read."""
    settings = load(config, directory)
    name, tag = parse_image(settings, image)
    blobs = BlobStore(Layout(settings.storage.directory))

    async def run(tables: Tables) -> tuple[int, int, int, int]:
        if tag is None:
            purged = await tables.purge.forget_repository(name, is_dry=dry_run)
        else:
            purged = await tables.purge.forget_tag(name, tag, is_dry=dry_run)
        leaving, gone, stayed = purged.leaving, purged.leaving, purged.leaving[:0]
        if not dry_run:
            are_gone = [await blobs.remove(item.digest) for item in leaving]
            gone = [item for item, is_gone in zip(leaving, are_gone, strict=True) if is_gone]
            stayed = [item for item, is_gone in zip(leaving, are_gone, strict=True) if not is_gone]
            await tables.usage.forget(gone, stayed, level=0.0)
        return len(gone), sum(item.size for item in gone), len(stayed), purged.pinned

    count, size, being_read, pinned = with_tables(settings, run)
    if pinned:
        typer.echo(f"nothing was purged: {pinned} blobs are pinned; see `proxycache usage`, and unpin first", err=True)
        raise typer.Exit(1)
    typer.echo(f"{'would purge' if dry_run else 'purged'} {count} blobs, {size} bytes")
    if being_read:
        typer.echo(f"{being_read} blobs stay: they are being read; ask again later", err=True)
        raise typer.Exit(1)
