"""`proxycache adopt`: take owned copies of what an image borrows, in a running cache as well."""

from typing import TYPE_CHECKING, Annotated

import typer

from proxycache.cli.local_image import parse_local_image
from proxycache.cli.opened_store import load
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.cli.run_jobs import run_jobs

if TYPE_CHECKING:
    from proxycache.app import Jobs, Parts

LocalImageArgument = Annotated[
    str, typer.Argument(metavar="NAME[:TAG]", help="A tag that was pushed here, or all that its repository has.")
]


def adopt(image: LocalImageArgument, *, config: ConfigOption = None, directory: DirectoryOption = None) -> None:
    """Own what an image borrows: fetched where it is not held; exit code 1 if some of it cannot be had."""
    settings = load(config, directory)
    name, tag = parse_local_image(settings, image)

    async def run(parts: "Parts", jobs: "Jobs") -> tuple[int, int, int]:
        loans = parts.tables.loans
        if not await loans.is_known(name, tag):
            typer.echo(f"nothing was adopted: {image} is not here", err=True)
            raise typer.Exit(1)
        adopted, size, borrowed = 0, 0, await loans.list_of(name, tag)
        for number, blob in enumerate(borrowed, start=1):
            typer.echo(f"{number}/{len(borrowed)} {blob.digest} of {blob.origin}, {blob.size} bytes", err=True)
            why = await jobs.adopter.adopt(blob)
            if why:
                typer.echo(f"cannot adopt {blob.digest}: {why}", err=True)
                continue
            adopted, size = adopted + 1, size + blob.size
        return adopted, size, len(borrowed) - adopted

    adopted, size, left = run_jobs(settings, run)
    typer.echo(f"adopted {adopted} blobs, {size} bytes")
    if left:
        raise typer.Exit(1)
