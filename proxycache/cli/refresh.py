"""`proxycache refresh`: ask the upstream now where a tag points, so that a running cache serves that at once."""

from typing import TYPE_CHECKING, Annotated

import typer

from proxycache.cli.opened_store import load, parse_image
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.cli.run_jobs import run_jobs
from proxycache.config.errors import ConfigError
from proxycache.oci.digest import Digest
from proxycache.oci.errors import Unsupported
from proxycache.oci.names import Tag
from proxycache.upstream.errors import UpstreamNotFound, UpstreamUnreachable

if TYPE_CHECKING:
    from proxycache.app import Parts
    from proxycache.web.exchange import Services


def refresh(
    image: Annotated[str, typer.Argument(metavar="NAME:TAG", help="A tag of an upstream's repository.")],
    *,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
) -> None:
    """Ask the upstream now where a tag points; exit code 1 if it is gone there, 2 if that could not be found out."""
    settings = load(config, directory)
    name, tag = parse_image(settings, image)
    if tag is None:
        raise ConfigError("command line", f"{image} names no tag: refresh NAME:TAG")
    try:
        before, now = run_jobs(settings, lambda parts, jobs: _ask(parts, jobs.services, name, tag))
    except UpstreamNotFound as answer:
        typer.echo(f"gone {name}:{tag}, and forgotten: {answer}", err=True)
        raise typer.Exit(1) from None
    typer.echo(_describe(before, now))


async def _ask(parts: "Parts", services: "Services", name: str, tag: Tag) -> tuple[Digest | None, Digest]:
    """Return what was known and what the upstream says, which is then written down."""
    tags = parts.tables.tags
    route = services.access.route(name, None, "")
    if route.upstream is None:
        raise Unsupported(f"{name}: lives here, so there is no upstream to ask")
    source = await services.access.open_as_owner(route, tag)
    if source.is_offline:
        raise UpstreamUnreachable(source.upstream, "offline = true: nobody is asked")
    known = await tags.find(name, tag)
    try:
        row = await services.manifests.ask_now(source, tag)
    except UpstreamNotFound:
        await tags.remove(name, tag, checked_at=parts.clock.now())
        raise
    # The jobs write rows when the database takes them; who asked here is told when all workers know.
    await tags.record(row)
    return None if known is None else known.digest, row.digest


def _describe(before: Digest | None, now: Digest) -> str:
    if before is None:
        return f"new {now}"
    return f"unchanged {now}" if before == now else f"moved {before} → {now}"
