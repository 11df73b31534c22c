"""Trouble on the disk or in the database fails no pull: every client gets every byte, verified."""

import asyncio
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxycache.registry import record
from proxycache.store.layout import Layout
from tests.builders import blob, image
from tests.disk import open_files
from tests.fakes.faults import cut, no_length, stall, wrong_byte
from tests.fakes.signals import Gate
from tests.integration.harness import read

NAME = "library/alpine"
SIZE = 3_000_000
TAIL = 64 * 1024
MOST_BYTES = 1_000_000


def path_of(digest: str) -> str:
    return f"/v2/{NAME}/blobs/{digest}"


def replace_by_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.write_text("in the way")


TROUBLES: dict[str, Callable[[Layout], None]] = {
    "no spools": lambda layout: shutil.rmtree(layout.spools),
    "a file for spools": lambda layout: replace_by_file(layout.spools),
    "no blobs": lambda layout: shutil.rmtree(layout.blobs),
    "a file for blobs": lambda layout: replace_by_file(layout.blobs),
    "no locks": lambda layout: shutil.rmtree(layout.locks),
    "a file for locks": lambda layout: replace_by_file(layout.locks),
    "nothing at all": lambda layout: shutil.rmtree(layout.directory),
}


@pytest.fixture
def small_files() -> Iterator[None]:
    """The system refuses to let any file grow beyond MOST_BYTES, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


async def ask_all(cache, count: int, path: str):
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(cache.get(path)) for _ in range(count)]
    return [task.result() for task in asked]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_every_client_gets_every_byte_of_a_cold_blob(cache, upstream, trouble):
    wanted = upstream.add_blob(NAME, SIZE)
    TROUBLES[trouble](cache.parts.layout)

    got = await ask_all(cache, 5, path_of(wanted.digest))
    got += await ask_all(cache, 1, path_of(wanted.digest))

    assert {(each.status, each.body, each.is_complete) for each in got} == {(200, wanted.body, True)}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_every_client_gets_a_cold_image(cache, upstream, trouble):
    wanted = upstream.add_image(NAME, image(), tag="3")
    TROUBLES[trouble](cache.parts.layout)

    got = [await cache.get_manifest(NAME, reference) for reference in ("3", "3", wanted.digest, wanted.digest)]
    head = await cache.head_manifest(NAME, "3")

    assert {(each.status, each.body) for each in got} == {(200, wanted.body)}
    assert head.status == 200


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_every_client_gets_its_range(cache, upstream, trouble):
    wanted = upstream.add_blob(NAME, 300_000)
    TROUBLES[trouble](cache.parts.layout)

    got = [await cache.get_range(NAME, wanted.digest, text) for text in ("10-99", "-70000", "5-")]

    assert [each.status for each in got] == [206] * 3
    assert [each.body for each in got] == [wanted.body[10:100], wanted.body[-70_000:], wanted.body[5:]]


@pytest.mark.parametrize("trouble", ["no spools", "a file for spools"])
@pytest.mark.parametrize("place", [5, SIZE - 5])
async def test_wrong_content_past_the_disk_completes_for_nobody(cache, upstream, trouble, place):
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(place), on=wanted.digest, method="GET", times=None)
    TROUBLES[trouble](cache.parts.layout)

    got = await cache.get(path_of(wanted.digest))

    assert not got.is_complete
    assert len(got.body) <= SIZE - TAIL


async def test_passing_by_the_disk_is_counted_and_told(cache, upstream, caplog):
    wanted = upstream.add_blob(NAME, SIZE)
    replace_by_file(cache.parts.layout.spools)

    for _ in range(3):
        await cache.get(path_of(wanted.digest))

    assert cache.fills == ["passed_through"] * 3
    assert [record.digest for record in caplog.records if record.message == "cannot keep blob"] == [wanted.digest]
    assert "fill ended" not in caplog.text


async def test_a_blob_past_the_disk_is_resumed(cache, upstream):
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=200_000).combined_with(cut(at=200_000)), on=wanted.digest, method="GET")
    TROUBLES["no spools"](cache.parts.layout)

    async with cache.open(path_of(wanted.digest)) as response:
        begun = await response.content.readexactly(200_000)
        gate.open()
        rest, is_complete = await read(response)

    assert is_complete
    assert begun + rest == wanted.body


async def test_a_blob_that_the_disk_has_no_room_for_passes_through(cache, upstream, small_files):
    wanted = upstream.add_blob(NAME, SIZE)

    got = await ask_all(cache, 5, path_of(wanted.digest))

    assert {(each.status, each.body, each.is_complete) for each in got} == {(200, wanted.body, True)}
    assert not cache.holds(wanted.digest)
    assert list(cache.parts.layout.spools.iterdir()) == []


@pytest.mark.parametrize("is_sized", [True, False])
async def test_a_disk_that_fills_up_in_mid_fill_cuts_nobody(cache, upstream, small_files, is_sized):
    held = image(layers=1, layer_size=SIZE)
    layer = upstream.add_image(NAME, held, tag="3").layers[0]
    if is_sized:
        await cache.get_manifest(NAME, "3")
    gate = Gate()
    upstream.faults.add(no_length().combined_with(stall(gate, at=500_000)), on=layer.digest, method="GET")

    async with cache.open(path_of(layer.digest)) as response:
        begun = await response.content.readexactly(400_000 if not is_sized else 500_000)
        gate.open()
        rest, is_complete = await read(response)

    assert is_complete
    assert begun + rest == layer.body


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB under the data directory."""
    data = tmp_path / "data"
    data.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", data], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    yield data
    subprocess.run(["umount", data], check=True)


async def test_on_a_full_disk_every_client_gets_every_byte(full_disk, start, upstream):
    cache = await start()
    wanted = upstream.add_blob(NAME, SIZE)
    held = upstream.add_image(NAME, image(layers=1, layer_size=TAIL * 4), tag="3")
    (full_disk / "ballast").write_bytes(b"x" * (full_disk_room(full_disk)))

    blobs = await ask_all(cache, 4, path_of(wanted.digest))
    blobs += await ask_all(cache, 4, path_of(wanted.digest))
    manifests = [await cache.get_manifest(NAME, "3") for _ in range(2)]
    layer = await cache.get(path_of(held.layers[0].digest))

    assert {(each.status, each.body, each.is_complete) for each in blobs} == {(200, wanted.body, True)}
    assert {(each.status, each.body) for each in manifests} == {(200, held.body)}
    assert layer.body == held.layers[0].body


def full_disk_room(disk: Path) -> int:
    return shutil.disk_usage(disk).free


async def hold(cache, upstream):
    held = upstream.add_image(NAME, image(layers=1, layer_size=300_000), tag="3")
    await cache.get_manifest(NAME, "3")
    await cache.get(path_of(held.layers[0].digest))
    await cache.wait_for_fills()
    return held


async def test_a_locked_database_fails_no_pull(workers, upstream):
    held = await hold(workers[0], upstream)
    cold = upstream.add_image(NAME, image(layers=1, layer_size=300_000, seed="cold"), tag="4")

    with closing(sqlite3.connect(workers[0].parts.layout.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        got = [
            await cache.get(path)
            for cache in workers
            for path in (path_of(held.layers[0].digest), f"/v2/{NAME}/manifests/3", path_of(cold.layers[0].digest))
        ]
        manifest = await workers[0].get_manifest(NAME, "4")
        other.execute("ROLLBACK")

    assert [each.status for each in got] == [200] * 6
    assert (got[2].body, manifest.body) == (cold.layers[0].body, cold.body)


async def test_rows_that_a_locked_database_refused_are_written_later(workers, upstream):
    cold = upstream.add_image(NAME, image(), tag="4")
    first, second = workers
    with closing(sqlite3.connect(first.parts.layout.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await first.get_manifest(NAME, "4")
        other.execute("ROLLBACK")

    async with asyncio.timeout(10):
        while not await first.parts.tables.tags.find(f"docker.io/{NAME}", "4"):
            await asyncio.sleep(0.05)
    await upstream.stop()

    assert (await second.get_manifest(NAME, "4")).body == cold.body


def break_database(layout: Layout) -> None:
    for path in layout.directory.glob("proxycache.db*"):
        if not path.name.endswith("-shm"):
            with path.open("r+b") as file:
                file.write(b"no database " * (path.stat().st_size // 12 + 1))


async def test_with_a_broken_database_what_is_on_disk_is_served(cache, upstream):
    held = await hold(cache, upstream)
    break_database(cache.parts.layout)
    await upstream.stop()

    got = [await cache.get(path_of(held.layers[0].digest)), await cache.get_manifest(NAME, held.digest)]

    assert [(each.status, each.body) for each in got] == [(200, held.layers[0].body), (200, held.body)]
    assert got[1].headers["Content-Type"] == held.media_type


async def test_with_a_broken_database_cold_content_is_pulled(cache, upstream):
    await hold(cache, upstream)
    cold = upstream.add_image(NAME, image(layers=1, layer_size=300_000, seed="cold"), tag="4")
    break_database(cache.parts.layout)

    got = [await cache.get_manifest(NAME, "4"), await cache.get(path_of(cold.layers[0].digest))]
    catalog = await cache.get("/v2/_catalog")

    assert [(each.status, each.body) for each in got] == [(200, cold.body), (200, cold.layers[0].body)]
    assert catalog.status in {200, 503}


async def test_readiness_tells_of_a_directory_that_is_gone(cache):
    TROUBLES["no spools"](cache.parts.layout)

    assert ((await cache.get("/-/ready")).status, (await cache.get("/-/health")).status) == (503, 200)


async def test_rows_that_are_given_up_leave_no_file_open_and_are_made_when_the_database_is_back(
    cache, upstream, monkeypatch
):
    monkeypatch.setattr(record, "_RETRY_SECONDS", ())
    room = cache.parts.fill_services.room
    wanted = [upstream.add_blob(NAME, blob(SIZE, seed=number)) for number in range(3)]
    with closing(sqlite3.connect(cache.parts.layout.database)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON blobs BEGIN SELECT RAISE(ABORT, 'full'); END")

        for each in wanted:
            await cache.get(path_of(each.digest))
        await cache.wait_for_fills(len(wanted))
        async with asyncio.timeout(10):
            while open_files(cache.parts.layout.spools):
                await asyncio.sleep(0.01)
        assert len(list(cache.parts.layout.spools.glob("*.reserved"))) == len(wanted)

        other.execute("DROP TRIGGER full")
    await room.work_ahead()

    assert list(cache.parts.layout.spools.glob("*.reserved")) == []
    assert await cache.parts.tables.usage.cached_bytes() >= len(wanted) * SIZE
