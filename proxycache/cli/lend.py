"""`proxycache lend`: give back what an image owns and a public upstream has, in a running cache as well."""

from typing import TYPE_CHECKING

import typer

from proxycache.cli.adopt import LocalImageArgument
from proxycache.cli.local_image import parse_local_image
from proxycache.cli.opened_store import load
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.cli.run_jobs import run_jobs
from proxycache.config.errors import ConfigError

if TYPE_CHECKING:
    from proxycache.app import Jobs, Parts


def lend(image: LocalImageArgument, *, config: ConfigOption = None, directory: DirectoryOption = None) -> None:
    """Borrow the layers that an image owns and an upstream has, but those of pinned tags.

    Exit code 1 if the image is not here, or all its layers are those of pinned tags.
    """
    settings = load(config, directory)
    if settings.local.borrow != "lazy":
        why = "nothing may be borrowed" if settings.local.borrow == "off" else "what is lent would be adopted again"
        raise ConfigError("command line", f"local.borrow is {settings.local.borrow!r}: {why}")
    name, tag = parse_local_image(settings, image)

    async def run(parts: "Parts", jobs: "Jobs") -> tuple[int, int]:
        tables = parts.tables
        if not await tables.loans.is_known(name, tag):
            raise _refusal(f"{image} is not here")
        lent, size, layers = 0, 0, await jobs.lender.list_layers(name, tag)
        if layers and all(layer.is_pinned for layer in layers):
            raise _refusal(f"all layers of {image} are those of pinned tags, so they would be adopted again")
        for layer in layers:
            if layer.is_pinned:
                typer.echo(f"left out {layer.digest}: a pinned tag has it, so it would be adopted again", err=True)
                continue
            origin = await jobs.lender.lend(name, layer)
            if origin is not None:
                typer.echo(f"{layer.digest} to {origin.repository}, {layer.size} bytes", err=True)
                lent, size = lent + 1, size + layer.size
        return lent, size

    lent, size = run_jobs(settings, run)
    typer.echo(f"lent {lent} blobs, {size} bytes")


def _refusal(why: str) -> typer.Exit:
    typer.echo(f"nothing was lent: {why}", err=True)
    return typer.Exit(1)
