"""A budget that is smaller than what is asked for: every byte comes, and the budget holds."""

import asyncio

from tests.builders import blob, image
from tests.disk import taken
from tests.fakes.faults import no_length
from tests.integration.harness import read

NAME = "library/alpine"
MIB = 1024 * 1024
BUDGET = 24 * MIB


async def test_old_blobs_make_room_for_new_ones(start, upstream, tmp_path):
    cache = await start(max_size=BUDGET, min_free=0)
    contents = [blob(4 * MIB, seed=number) for number in range(10)]
    for content in contents:
        upstream.add_blob(NAME, content)

    for number, content in enumerate(contents, start=1):
        assert (await cache.get_blob(NAME, content.digest)).body == content.body
        await cache.wait_for_fills(number)
        assert taken(tmp_path / "data") <= BUDGET

    assert cache.fills == ["published"] * 10
    assert cache.holds(contents[-1].digest)
    assert not cache.holds(contents[0].digest)
    assert (await cache.get_blob(NAME, contents[0].digest)).body == contents[0].body


async def test_what_is_larger_than_the_budget_passes_through(start, upstream, tmp_path):
    cache = await start(max_size=BUDGET, min_free=0)
    content = upstream.add_blob(NAME, blob(32 * MIB))

    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(cache.get_blob(NAME, content.digest)) for _ in range(3)]

    assert all(pull.result().body == content.body for pull in pulls)
    assert not cache.holds(content.digest)
    assert set(cache.fills) == {"passed_through"}
    assert taken(tmp_path / "data") <= BUDGET


async def test_what_never_fits_is_told_once_for_each_blob_and_counted_each_time(start, upstream, caplog):
    cache = await start(max_size=BUDGET, min_free=0)
    huge = [upstream.add_image(NAME, image(layers=1, layer_size=25 * MIB, seed=number)) for number in range(2)]

    for wanted in huge:
        await cache.get_manifest(NAME, wanted.digest)  # so that the size is known before anybody is asked
        for _ in range(2):
            assert (await cache.get_blob(NAME, wanted.layers[0].digest)).body == wanted.layers[0].body

    assert cache.fills == ["passed_through"] * 4
    told = [record.digest for record in caplog.records if record.message == "cannot keep blob"]
    assert told == [wanted.layers[0].digest for wanted in huge]


async def test_a_disk_without_room_passes_everything_through_until_there_is_room(start, upstream):
    full = await start(max_size=0, min_free=2**60)
    content = upstream.add_blob(NAME, blob(2 * MIB))

    assert (await full.get_blob(NAME, content.digest)).body == content.body
    assert not full.holds(content.digest)
    roomy = await start(max_size=0, min_free=0)
    assert (await roomy.get_blob(NAME, content.digest)).body == content.body
    await roomy.wait_for_fills()
    assert roomy.holds(content.digest)


async def test_a_body_of_unknown_size_is_bounded_as_well(start, upstream, tmp_path):
    cache = await start(max_size=BUDGET, min_free=0)
    content = upstream.add_blob(NAME, blob(40 * MIB))
    upstream.faults.add(no_length(), on=content.digest)

    answer = await cache.get_blob(NAME, content.digest)

    assert (answer.body, answer.is_complete) == (content.body, True)
    assert not cache.holds(content.digest)
    assert taken(tmp_path / "data") <= BUDGET


async def test_what_is_being_read_and_what_is_pinned_stays(start, upstream, tmp_path):
    cache = await start(max_size=2 * BUDGET, min_free=0)
    pinned = upstream.add_image(NAME, image(layers=1, layer_size=4 * MIB, seed="pinned"), tag="1")
    await cache.get_manifest(NAME, "1")
    for layer in pinned.blobs():
        assert (await cache.get_blob(NAME, layer.digest)).is_complete
    await cache.parts.tables.pins.add(f"docker.io/{NAME}", "1", now=1.0)
    read_now = upstream.add_blob(NAME, blob(30 * MIB, seed="read"))
    await cache.get_blob(NAME, read_now.digest)
    async with cache.open(f"/v2/{NAME}/blobs/{read_now.digest}") as reader:
        for number in range(8):
            content = upstream.add_blob(NAME, blob(4 * MIB, seed=number))
            assert (await cache.get_blob(NAME, content.digest)).body == content.body
            assert taken(tmp_path / "data") <= 2 * BUDGET

        assert cache.holds(read_now.digest)
        assert all(cache.holds(layer.digest) for layer in pinned.blobs())
        assert await read(reader) == (read_now.body, True)


async def test_two_workers_share_one_budget(start, upstream, tmp_path):
    workers = [await start(max_size=BUDGET, min_free=0) for _ in range(2)]
    contents = [upstream.add_blob(NAME, blob(4 * MIB, seed=number)) for number in range(12)]

    async with asyncio.TaskGroup() as group:
        pulls = [
            group.create_task(workers[number % 2].get_blob(NAME, content.digest))
            for number, content in enumerate(contents)
        ]

    assert [pull.result().body for pull in pulls] == [content.body for content in contents]
    assert taken(tmp_path / "data") <= BUDGET
