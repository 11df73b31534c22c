"""A locked or damaged database, a start that cannot be, and what the outside sees of several workers."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders import image
from tests.fakes.auth import BasicAuth, TokenAuth
from tests.fakes.faults import answer, wrong_byte
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, RunningCache, blob_path, manifest_path, wait_until

PASSWORD = "swordfish-of-ann"
LOCKER = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def lock_database(cache: RunningCache) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which holds the database's write lock until the test ends."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LOCKER, str(cache.layout.database)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_pulls_go_on_while_another_process_holds_the_write_lock(
    cache: RunningCache, upstream: ThreadedRegistry, lock_database: "subprocess.Popen[str]"
) -> None:
    wanted = upstream.add_image(NAME, image(layers=2), tag="3")
    paths = [manifest_path("3"), *(blob_path(each.digest) for each in wanted.blobs())]
    bodies = [wanted.body, *(each.body for each in wanted.blobs())]

    for _ in range(2):  # cold, then held
        for client in cache.connect_each(1):
            assert [client.get(path).body for path in paths] == bodies
    assert upstream.count("GET", "/blobs/") == 3
    lock_database.kill()
    lock_database.wait()

    cache.wait_for_rows("SELECT * FROM links", 4)


def test_what_is_held_is_served_at_once_though_the_write_lock_is_taken(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    wanted = upstream.add_image(NAME, image(layers=2), tag="3")
    paths = [manifest_path("3"), *(blob_path(each.digest) for each in wanted.blobs())]
    for path in paths:
        cache.get(path)
    cache.wait_for_rows("SELECT * FROM links", 4)
    upstream.run(upstream.stop())

    with closing(sqlite3.connect(cache.layout.database, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        statuses = {client.get(path).status for client in cache.connect_each(1) for path in paths}
        database.execute("ROLLBACK")

    assert statuses == {200}


# --- starts that cannot be ---


def damage_database(cache: RunningCache) -> None:
    cache.layout.prepare()
    cache.layout.database.write_bytes(b"this is no database" * 100)


def write_newer_format(cache: RunningCache) -> None:
    cache.layout.prepare()
    cache.layout.format.write_text("99\n")


def write_newer_database(cache: RunningCache) -> None:
    cache.layout.prepare()
    with closing(sqlite3.connect(cache.layout.database)) as database:
        database.execute("PRAGMA user_version = 99")


def put_a_file_in_its_place(cache: RunningCache) -> None:
    cache.layout.directory.write_text("precious")


def put_a_file_in_place_of_the_spools(cache: RunningCache) -> None:
    cache.layout.directory.mkdir()
    cache.layout.spools.write_text("precious")


@pytest.mark.parametrize(
    ("prepare", "word"),
    [
        (damage_database, "proxycache.db"),
        (write_newer_format, "99"),
        (write_newer_database, "99"),
        (put_a_file_in_its_place, "data"),
        (put_a_file_in_place_of_the_spools, "spools"),
    ],
)
def test_a_directory_that_cannot_be_used_is_one_line_and_exit_code_2(tmp_path: Path, prepare, word: str) -> None:
    cache = RunningCache(tmp_path, "http://127.0.0.1:1")
    prepare(cache)
    before = contents(tmp_path)

    code, lines = cache.run()

    errors = [line for line in lines if '"level": "info"' not in line]
    assert (code, len(set(map(without_time, errors)))) == (2, 1)
    assert word in errors[0]
    assert before.items() <= contents(tmp_path).items()


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def without_time(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    return f"{record['event']} {record.get('error')}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_not_writable_is_one_line(tmp_path: Path) -> None:
    cache = RunningCache(tmp_path, "http://127.0.0.1:1")
    cache.layout.directory.mkdir(mode=0o500)

    code, lines = cache.run()

    assert (code, len(lines)) == (2, 1)


def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code, lines = RunningCache(tmp_path, "http://127.0.0.1:1", port=port).run()

    assert (code, len(lines)) == (2, 1)
    assert f"127.0.0.1:{port}" in lines[0]


def test_starting_contacts_nobody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        with RunningCache(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}") as cache:
            assert cache.get("/-/ready").status == 200
            assert cache.get("/v2/").status == 200
            assert cache.terminate() == 0

        with pytest.raises(BlockingIOError):
            listener.accept()


# --- seen from outside ---


def test_metrics_of_all_workers_are_summed_up_by_each(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, 100_000)
    clients = cache.connect_each(2)
    for client in clients:
        client.get(blob_path(wanted.digest))
    cache.wait_until_published(wanted.digest)

    labels = {"kind": "blob", "method": "GET", "status": "2xx"}
    wait_until(lambda: cache.metric("proxycache_requests_total", **labels) == 4, "all requests are counted")
    assert cache.metric("proxycache_sent_bytes_total", kind="blob") == 400_000
    assert cache.metric("proxycache_fetched_bytes_total") == 100_000
    assert cache.metric("proxycache_fills_total", outcome="published") == 1


def test_what_a_killed_worker_counted_still_counts(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, 100_000)
    client = cache.connect(cache.workers()[0])
    client.get(blob_path(wanted.digest))
    client.get("/-/metrics")  # which makes its worker hand over what it has

    os.kill(client.worker, signal.SIGKILL)
    cache.wait_for_log("worker ended", worker=client.worker)

    assert cache.metric("proxycache_fetched_bytes_total") == 100_000


@pytest.mark.parametrize("auth", [BasicAuth, TokenAuth])
def test_no_secret_is_seen_from_outside(tmp_path: Path, upstream: ThreadedRegistry, auth: type) -> None:
    upstream.auth = auth(username="ann", password=PASSWORD)
    upstream.redirects.add("blobs")
    wanted = upstream.add_image(NAME, image(layers=3), tag="3")
    good, bad, broken = wanted.layers
    upstream.cdn.faults.add(answer(500), on=broken.digest, times=None)
    upstream.cdn.faults.add(wrong_byte(5), on=bad.digest, times=None)
    (tmp_path / "password").write_text(PASSWORD)
    more = f'username = "ann"\npassword_file = "{tmp_path / "password"}"\nvisibility = "public"'

    with RunningCache(tmp_path, upstream.url, more=more, level="debug") as cache:
        statuses = [cache.get(path).status for path in [manifest_path("3"), blob_path(good.digest)]]
        statuses += [cache.get(blob_path(each.digest)).status for each in (bad, broken)]
        seen = cache.log + cache.get("/-/metrics").body.decode()
        cache.terminate()
        seen += cache.log

    assert statuses[:2] == [200, 200]
    assert statuses[3] == 502
    secrets = [PASSWORD, "secret-signature", *(header for header in authorizations(upstream))]
    assert not [secret for secret in secrets if secret in seen]


def authorizations(upstream: ThreadedRegistry) -> set[str]:
    """Return what followed the scheme in every Authorization that the upstream saw."""
    values = {seen.headers.get("Authorization", "") for seen in upstream.requests}
    return {value.partition(" ")[2] for value in values if value}


def test_each_request_and_each_fill_is_one_line(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, 100_000)
    for client in cache.connect_each(1):
        client.get(blob_path(wanted.digest))
    cache.wait_until_published(wanted.digest)

    assert cache.terminate() == 0

    told = [(record["event"], record.get("path"), record.get("digest")) for record in cache.records]
    assert told.count(("fill ended", None, wanted.digest)) == 1
    assert told.count(("request", blob_path(wanted.digest), None)) == 2
