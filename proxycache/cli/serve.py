"""`proxycache serve`: run the cache in the foreground until SIGTERM or SIGINT."""

import typer

from proxycache.cli.options import (
    ConfigOption,
    DirectoryOption,
    ListenOption,
    OfflineOption,
    WorkersOption,
    settings_loader,
)
from proxycache.observe.logs import configure_logging
from proxycache.oci.errors import ProxycacheError
from proxycache.server.assignment import Worker
from proxycache.server.supervisor import serve as serve_workers
from proxycache.store.layout import Layout


def serve(
    *,
    config: ConfigOption = None,
    listen: ListenOption = None,
    directory: DirectoryOption = None,
    workers: WorkersOption = None,
    offline: OfflineOption = None,
) -> None:
    """Serve images: a mirror for Docker Hub and the other configured registries."""
    load = settings_loader(config, listen=listen, directory=directory, workers=workers, offline=offline)
    loaded = load()
    configure_logging(loaded.settings.log, foreseen=(ProxycacheError,))
    Layout(loaded.settings.storage.directory).prepare()
    raise typer.Exit(serve_workers(loaded, load_again=load, load_worker=_load_worker))


def _load_worker() -> Worker:
    from proxycache.app import run_worker  # noqa: PLC0415 - prometheus_client looks where to count when imported

    return run_worker
