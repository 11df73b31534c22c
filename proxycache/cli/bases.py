"""`proxycache bases`: the images on which pushes will build, known before anybody pulls them."""

from typing import TYPE_CHECKING, Annotated

import typer

from proxycache.cli.opened_store import load, routing_table, with_tables
from proxycache.cli.options import ConfigOption, DirectoryOption
from proxycache.cli.run_jobs import run_jobs
from proxycache.config.model import Settings
from proxycache.oci.errors import Unsupported
from proxycache.policy.routing import choose_route
from proxycache.registry.learn_base import Base, LearntBase, parse_base
from proxycache.store.tables import Tables
from proxycache.upstream.errors import UpstreamNotFound

if TYPE_CHECKING:
    from proxycache.app import Jobs, Parts

ReferencesArgument = Annotated[list[str], typer.Argument(metavar="NAME[:TAG]...", show_default=False)]

bases = typer.Typer(help="Learn the layers of base images without pulling them.", no_args_is_help=True)


@bases.command("add")
def add(references: ReferencesArgument, *, config: ConfigOption = None, directory: DirectoryOption = None) -> None:
    """Learn what a tag is made of, and look hourly whether it has moved; exit code 1 if it is not there."""
    settings = load(config, directory)
    is_missing = False
    for base in [_parse(settings, reference) for reference in references]:
        try:
            learnt = _learn(settings, base)
        except UpstreamNotFound as answer:
            typer.echo(f"not added {base}: {answer}", err=True)
            is_missing = True
            continue
        typer.echo(f"added {base}: {_describe(learnt)}")
    if is_missing:
        raise typer.Exit(1)


@bases.command("remove")
def remove(references: ReferencesArgument, *, config: ConfigOption = None, directory: DirectoryOption = None) -> None:
    """Look after a base no longer; what was learnt stays known. Exit code 1 if it had not been added."""
    settings = load(config, directory)
    named = [str(_parse(settings, reference)) for reference in references]

    async def run(tables: Tables) -> dict[str, bool]:
        return {base: await tables.bases.remove(base) for base in named}

    removed = with_tables(settings, run)
    for base, was_there in removed.items():
        if was_there:
            typer.echo(f"removed {base}")
        else:
            hint = ", but is in local.bases" if base in _configured(settings) else ""
            typer.echo(f"{base} was not added{hint}", err=True)
    if not all(removed.values()):
        raise typer.Exit(1)


@bases.command("list")
def show(*, config: ConfigOption = None, directory: DirectoryOption = None) -> None:
    """Print the bases, configured and added, one a line."""
    settings = load(config, directory)
    added = with_tables(settings, lambda tables: tables.bases.list_added())
    for reference in dict.fromkeys([*_configured(settings), *added]):
        typer.echo(reference)


def _configured(settings: Settings) -> list[str]:
    return [str(_parse(settings, reference)) for reference in settings.local.bases]


def _parse(settings: Settings, reference: str) -> Base:
    table = routing_table(settings)
    return parse_base(reference, lambda name: choose_route(table, name, None))


def _learn(settings: Settings, base: Base) -> LearntBase:
    registry = base.repository.partition("/")[0]
    if registry not in settings.local.lenders:
        raise Unsupported(f"{base}: local.borrow and local.borrow_from let nothing of {registry} be borrowed")

    async def run(parts: "Parts", jobs: "Jobs") -> LearntBase:
        learnt = await jobs.learner.learn(base)
        await parts.tables.bases.add(str(base), now=parts.clock.now())
        return learnt

    return run_jobs(settings, run)


def _describe(learnt: LearntBase) -> str:
    if not learnt.is_new:
        return f"unchanged {learnt.digest}"
    return f"{learnt.digest}, {learnt.images} images, {learnt.layers} layers"
