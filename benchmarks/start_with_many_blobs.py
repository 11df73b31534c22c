"""How long after its start does the cache answer when it holds 100,000 blobs?

The one question that reaches behind HTTP: filling so many through the cache would take minutes.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, Samples
from benchmarks.downloads import download
from benchmarks.origin import REPOSITORY, nginx_origin
from benchmarks.peers import PROXYCACHE
from benchmarks.question import Finding, Question, at_most, own_figure
from proxycache.oci.digest import Digest, digest_of
from proxycache.store.layout import Layout

_EMPTY = "with nothing held"


def _ask(bench: Bench) -> Iterator[Finding]:
    count = 10_000 if bench.is_quick else 100_000
    tree = bench.new_tree()
    tree.directory.mkdir()
    place = bench.new_place(PROXYCACHE.name)
    samples = Samples(unit="s")
    with (
        nginx_origin(tree, bench.new_place("origin")) as nginx,
        samples.noting_absence(PROXYCACHE.name),
        contextlib.ExitStack() as cleanup,
    ):
        cleanup.callback(shutil.rmtree, place, ignore_errors=True)
        with PROXYCACHE.start(nginx.port, place) as server:
            samples.add(_EMPTY, server.started_in_seconds)
        digest = _hold(place / "content", count)
        for _ in range(bench.runs):
            with PROXYCACHE.start(nginx.port, place) as server:
                samples.add(PROXYCACHE.name, server.started_in_seconds)
                download(server, f"/v2/{REPOSITORY}/blobs/{digest}")  # it really holds them: the origin does not
    yield own_figure(f"start with {count:,} blobs held", samples, at_most(1.0, "s"))


def _hold(directory: Path, count: int) -> Digest:
    """Put `count` blobs into a storage directory that was prepared; return the digest of one."""
    layout = Layout(directory)
    digests = []
    for number in range(count):
        content = f"blob {number}".encode()
        digest = digest_of(content)
        file = layout.blob(digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        digests.append((str(digest), len(content)))
    with contextlib.closing(sqlite3.connect(layout.database)) as database, database:
        database.executemany("INSERT INTO blobs (digest, size, is_public, stored_at) VALUES (?, ?, 1, 0)", digests)
        links = [(f"docker.io/{REPOSITORY}", digest) for digest, _ in digests]
        database.executemany("INSERT INTO links (repository, digest) VALUES (?, ?)", links)
    return digest_of(b"blob 0")


QUESTION = Question(name="start-with-many-blobs", ask=_ask)
