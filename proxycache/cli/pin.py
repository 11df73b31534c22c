"""`proxycache pin` and `unpin`: what is never evicted. Pins count at once, in a running cache as well."""

from typing import Annotated

import typer

from proxycache.cli.opened_store import load, parse_image, with_tables
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.clock import SystemClock

ImageArgument = Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="A tag, or all that a repository has.")]


def pin(image: ImageArgument, *, config: ConfigOption = None, directory: DirectoryOption = None) -> None:
    """Never evict what a tag is made of, or what a repository has."""
    settings = load(config, directory)
    name, tag = parse_image(settings, image)
    with_tables(settings, lambda tables: tables.pins.add(name, tag or "", now=SystemClock().now()))
    typer.echo(f"pinned {name}{f':{tag}' if tag else ''}")


def unpin(image: ImageArgument, *, config: ConfigOption = None, directory: DirectoryOption = None) -> None:
    """Take a pin back; exit code 1 if there was none."""
    settings = load(config, directory)
    name, tag = parse_image(settings, image)
    if not with_tables(settings, lambda tables: tables.pins.remove(name, tag or "")):
        typer.echo(f"{name}{f':{tag}' if tag else ''} is not pinned", err=True)
        raise typer.Exit(1)
    typer.echo(f"unpinned {name}{f':{tag}' if tag else ''}")
