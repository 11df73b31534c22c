"""Pushes over real worker processes: which of them die, when, and what fits on the disk, loses nothing acknowledged."""

import http.client
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import Content, blob, content
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import Connection, RunningCache, blob_path, wait_until

UPLOADS = "/v2/local/app/blobs/uploads/"
MIB = 1024 * 1024
SIZE = 20 * MIB
RECORDED_EVERY = 8 * MIB


def ask(connection: Connection, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
    connection.http.request(method, path, body, headers)
    answer = connection.http.getresponse()
    answer.read()
    return answer


def begin(connection: Connection) -> str:
    location = ask(connection, "POST", UPLOADS).getheader("Location")
    assert location is not None
    return location


def offset(connection: Connection, location: str) -> int:
    answer = ask(connection, "GET", location)
    assert answer.status == 204
    here = str(answer.getheader("Range")).removeprefix("0-")
    return int(here) + 1 if here != "0" else 0


def push(connection: Connection, wanted: Content) -> int:
    return ask(connection, "PUT", f"{begin(connection)}?digest={wanted.digest}", wanted.body).status


def begin_patch(connection: Connection, location: str, wanted: Content, sent: int) -> None:
    """Send the first `sent` bytes of what is announced as all."""
    connection.http.putrequest("PATCH", location)
    connection.http.putheader("Content-Length", str(wanted.size))
    connection.http.endheaders()
    connection.http.send(wanted.body[:sent])


def data_of(cache: RunningCache, location: str) -> Path:
    return cache.layout.upload_data(location.rpartition("/")[2])


def is_pulled(cache: RunningCache, wanted: Content) -> bool:
    answer = cache.get(f"/v2/local/app/blobs/{wanted.digest}")
    return (answer.status, answer.is_complete) == (200, True) and answer.body == wanted.body


@pytest.mark.parametrize("seed", range(4))
def test_a_worker_that_is_killed_in_the_middle_loses_what_was_not_recorded_only(cache: RunningCache, seed: int) -> None:
    wanted, sent = blob(SIZE, seed=seed), random.Random(seed).randrange(1, SIZE)
    first, other = cache.wait_for_workers()
    location = begin(cache.connect(other))
    begin_patch(cache.connect(first), location, wanted, sent)
    wait_until(lambda: data_of(cache, location).stat().st_size == sent, f"{sent} bytes")
    wait_until(lambda: offset(cache.connect(other), location) >= sent - RECORDED_EVERY, "progress")

    going_on = cache.connect(other)
    os.kill(first, signal.SIGKILL)

    here = offset(going_on, location)
    assert sent - RECORDED_EVERY < here <= sent
    chunk = {"Content-Range": f"{here}-{SIZE - 1}"}
    assert ask(going_on, "PATCH", location, wanted.body[here:], **chunk).status == 202
    assert ask(going_on, "PUT", f"{location}?digest={wanted.digest}").status == 201
    assert is_pulled(cache, wanted)
    assert list(cache.layout.uploads.iterdir()) == []


def test_a_push_that_was_cut_by_a_restart_goes_on(tmp_path: Path, upstream: ThreadedRegistry) -> None:
    wanted, sent = blob(SIZE), SIZE // 2 + 1
    with RunningCache(tmp_path, upstream.url, drain="0.5s") as cache:
        location = begin(cache.connect())
        begin_patch(cache.connect(), location, wanted, sent)
        wait_until(lambda: data_of(cache, location).stat().st_size == sent, f"{sent} bytes")

        cache.terminate()
        cache.kill_all()
        cache.start()

        connection = cache.connect()
        assert offset(connection, location) == sent
        assert ask(connection, "PUT", f"{location}?digest={wanted.digest}", wanted.body[sent:]).status == 201
        assert is_pulled(cache, wanted)


@pytest.mark.parametrize("seed", range(3))
def test_whenever_a_worker_dies_what_was_acknowledged_is_there(cache: RunningCache, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(6):
        wanted = blob(2 * MIB, seed=f"{seed} {number}")
        worker = cache.wait_for_workers()[0]
        connection = cache.connect(worker)
        connection.http.request("PUT", f"{begin(connection)}?digest={wanted.digest}", wanted.body)
        time.sleep(chance.random() * 0.03)  # to hit any step: none is the right one
        os.kill(worker, signal.SIGKILL)
        try:
            status = connection.http.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            status = 0

        cache.wait_for_workers()
        if status != 201:
            assert push(cache.connect(), wanted) == 201
        assert is_pulled(cache, wanted)
    cache.check_blobs()


def test_a_large_push_takes_no_more_memory_than_a_small_one(cache: RunningCache) -> None:
    small, large = content(b"x" * MIB), content(b"y" * 300 * MIB)
    worker = cache.wait_for_workers()[0]
    assert push(cache.connect(worker), small) == 201
    before = peak_memory(worker)

    assert push(cache.connect(worker), large) == 201

    assert peak_memory(worker) - before < 24 * MIB


def peak_memory(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


# --- a disk that is smaller than the work ---


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 100 MiB, of which 8 stay free."""
    monkeypatch.setenv("PROXYCACHE_STORAGE__MAX_SIZE", str(80 * MIB))
    monkeypatch.setenv("PROXYCACHE_STORAGE__MIN_FREE", str(8 * MIB))
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", mounted], check=True)
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


@pytest.mark.clients  # mounting a disk needs root as they do
def test_what_is_cached_makes_room_for_what_is_pushed(disk: Path, upstream: ThreadedRegistry) -> None:
    cached = [upstream.add_blob("library/alpine", blob(16 * MIB, seed=number)) for number in range(4)]
    wanted, more = blob(50 * MIB, seed="pushed"), blob(60 * MIB, seed="too much")
    with RunningCache(disk, upstream.url) as cache:
        for each in cached:
            assert cache.get(blob_path(each.digest)).body == each.body
            cache.wait_until_published(each.digest)

        assert push(cache.connect(), wanted) == 201
        connection = cache.connect()
        location = begin(connection)
        refused = ask(connection, "PATCH", location, more.body)

        assert refused.status == 507
        here = offset(cache.connect(), location)
        status = os.statvfs(disk)
        assert status.f_bavail * status.f_frsize >= 8 * MIB - MIB
        assert data_of(cache, location).stat().st_size >= here > 0
        assert is_pulled(cache, wanted)
        assert ask(cache.connect(), "DELETE", location).status == 204
        assert push(cache.connect(), blob(16 * MIB, seed="fits again")) == 201
