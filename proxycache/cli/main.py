"""The command `proxycache`: exit code 0 is yes or done, 1 no or it differs, 2 usage or could not tell."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from proxycache.cli.adopt import adopt
from proxycache.cli.bases import bases
from proxycache.cli.collect import collect
from proxycache.cli.lend import lend
from proxycache.cli.pin import pin, unpin
from proxycache.cli.purge import purge
from proxycache.cli.refresh import refresh
from proxycache.cli.serve import serve
from proxycache.cli.show_config import show_config
from proxycache.cli.usage import usage
from proxycache.cli.user import user
from proxycache.oci.errors import ProxycacheError

app = typer.Typer(
    help="A pull-through cache and registry for container images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve)
app.command("config")(show_config)
app.command("pin")(pin)
app.command("unpin")(unpin)
app.command("purge")(purge)
app.command("collect")(collect)
app.command("refresh")(refresh)
app.command("usage")(usage)
app.command("adopt")(adopt)
app.command("lend")(lend)
app.add_typer(bases, name="bases")
app.add_typer(user, name="user")


def main() -> None:
    """Run the command; an error of ours is one line on stderr and exit code 2."""
    try:
        app()
    except ProxycacheError as error:
        print(f"proxycache: {error}", file=sys.stderr)  # noqa: T201 - the command line's own voice
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"proxycache {version('proxycache')}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A pull-through cache and registry for container images."""
