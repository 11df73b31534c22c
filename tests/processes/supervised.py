"""A supervisor whose workers do little: `python supervised.py MODE CONFIG_FILE`; its log is JSON on stderr."""

import asyncio
import functools
import os
import sys
from pathlib import Path

from aiohttp import web

from proxycache.config.errors import ConfigError
from proxycache.config.load import load_settings
from proxycache.observe.logs import configure_logging
from proxycache.oci.errors import ProxycacheError
from proxycache.server.assignment import Assignment, Worker
from proxycache.server.listeners import start_sites
from proxycache.server.supervisor import serve


async def serve_until_drained(assignment: Assignment, *, listens_to_drain: bool = True) -> None:
    loaded = assignment.loaded
    draining = asyncio.Event()

    def reload() -> None:
        nonlocal loaded
        loaded = assignment.load_again()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/transfer":
            return await transfer(request)
        if request.path == "/fresh_for":
            return web.Response(text=str(loaded.settings.upstreams["docker.io"].freshness.fresh_for))
        return web.Response(text=str(os.getpid()), status=503 if draining.is_set() else 200)

    async def transfer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun\n")
        await draining.wait()
        await response.write(b"ended\n")
        return response

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=2)
    await runner.setup()
    await start_sites(runner, assignment.sockets)
    assignment.obey(drain=draining.set if listens_to_drain else lambda: None, reload=reload)
    assignment.report_ready()
    await draining.wait()
    await runner.cleanup()


async def die_at_once(_assignment: Assignment) -> None:
    raise RuntimeError("no reason")


async def find_store_unusable(_assignment: Assignment) -> None:
    raise ProxycacheError("the disk is made of cheese")


WORKERS: dict[str, Worker] = {
    "healthy": serve_until_drained,
    "stubborn": functools.partial(serve_until_drained, listens_to_drain=False),
    "dying": die_at_once,
    "unusable": find_store_unusable,
}


def main(mode: str, config_file: str) -> int:
    load = functools.partial(load_settings, config_file=Path(config_file), environment=os.environ, flags={})
    try:
        loaded = load()
        configure_logging(loaded.settings.log, foreseen=(ProxycacheError,))
        return serve(loaded, load_again=load, load_worker=lambda: WORKERS[mode])
    except (ConfigError, ProxycacheError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
