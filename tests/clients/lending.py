"""What stands around a push that borrows: a public registry, a cache that was empty, and a relay that counts."""

import contextlib
import os
import shutil
import sqlite3
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxycache.oci.digest import parse_digest
from proxycache.store.layout import Layout
from tests.clients.public_base import REPOSITORY, TAG
from tests.clients.pulling import pull_image
from tests.clients.relay import Relay
from tests.clients.services import Service, docker_registry, proxycache
from tests.clients.tools import run
from tests.processes.caches import wait_until

APP = "local/app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Clients talk to the relay: it is their mirror, and the registry to which they push."""

    origin: Service
    cache: Service
    relay: Relay
    directory: Path

    @property
    def address(self) -> str:
        return self.relay.address

    @property
    def url(self) -> str:
        return f"http://{self.relay.address}"

    @property
    def base(self) -> str:
        return f"{self.address}/{REPOSITORY}:{TAG}"

    @property
    def app(self) -> str:
        return f"{self.address}/{APP}"

    @property
    def pushed_bytes(self) -> int:
        """What the cache says that clients pushed."""
        with urllib.request.urlopen(f"{self.cache.url}/-/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return int(sum(float(line.split()[-1]) for line in lines if line.startswith("proxycache_pushed_bytes_total")))

    @property
    def owned_bytes(self) -> int:
        return int(self._query("SELECT coalesce(sum(size), 0) FROM blobs WHERE is_owned = 1")[0][0])

    def holds(self, digest: str) -> bool:
        return Layout(self.directory / "data").blob(parse_digest(digest)).exists()

    def run(self, *arguments: str) -> str:
        """Run a command of the cache beside it."""
        settings = self.directory / "proxycache.toml"
        return run([sys.executable, "-m", "proxycache", *arguments, "--config", settings])

    def purge_base(self) -> None:
        """Drop all of it, and what is known of who has its layers, but for what is borrowed."""
        self.run("purge", f"docker.io/{REPOSITORY}")

    def purge_base_tag(self) -> None:
        """Drop what the tag is made of; who has it stays known, as after an eviction."""
        self.run("purge", f"docker.io/{REPOSITORY}:{TAG}")

    def remove_origin(self) -> None:
        """Delete the repository in the public registry, as its owner may at any time."""
        shutil.rmtree(self.directory / "origin" / "docker/registry/v2/repositories" / REPOSITORY)

    def start_origin(self) -> contextlib.AbstractContextManager[Service]:
        """Run the public registry again, which was stopped."""
        directory = self.directory / "origin"
        return docker_registry(directory, self.directory / "origin-again.log", address=self.origin.address)

    def fill_base(self) -> None:
        """Let the cache hold the base, as after a pull, and know it."""
        contents = pull_image(self.cache.url, REPOSITORY, TAG).contents

        def is_recorded() -> bool:
            links = self._query("SELECT digest FROM links WHERE repository = ?", f"docker.io/{REPOSITORY}")
            return {digest for (digest,) in links} >= contents.keys()

        wait_until(is_recorded, "the base is recorded")

    def age(self, seconds: float) -> None:
        """Let it be so long ago that any origin was last seen."""
        self._query("UPDATE origins SET seen_at = seen_at - ?", seconds)

    def log_lines(self, event: str) -> list[str]:
        return [line for line in self.cache.log.read_text().splitlines() if event in line]

    def _query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(self.directory / "data" / "proxycache.db", timeout=10)
        with contextlib.closing(database), database:
            return database.execute(sql, values).fetchall()


@contextlib.contextmanager
def lending_place(storage: Path, directory: Path, *, more: str = "") -> Iterator[Place]:
    """Run a public registry on a copy of `storage`, and before it an empty cache with `more` in its settings."""
    shutil.copytree(storage, directory / "origin", copy_function=os.link)
    with (
        docker_registry(directory / "origin", directory / "origin.log") as origin,
        proxycache(directory, {"docker.io": origin}, more=more) as cache,
        Relay() as relay,
    ):
        relay.port_behind = int(cache.address.rpartition(":")[2])
        yield Place(origin=origin, cache=cache, relay=relay, directory=directory)
