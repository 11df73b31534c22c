import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.clock import SystemClock
from proxycache.oci.digest import digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreUnusable
from proxycache.store.layout import Layout
from proxycache.store.spool import Spool, Spools
from proxycache.store.spool_record import SpoolState
from proxycache.store.spool_writer import SpoolWriter

CONTENT = bytes(range(256)) * 40
DIGEST = digest_of(CONTENT)
NAME = "docker.io/library/alpine"


@pytest.fixture
def spool(layout: Layout) -> Iterator[Spool]:
    with Spools(layout, SystemClock()).use(DIGEST) as spool:
        yield spool


def lead(spool: Spool) -> SpoolWriter:
    writer = spool.try_lead(NAME)
    assert writer is not None
    return writer


def held(blobs: BlobStore) -> bytes:
    blob = blobs.open(DIGEST)
    assert blob is not None
    with blob:
        return blob.file.read()


async def test_what_was_written_and_verified_becomes_the_blob(spool: Spool, blobs: BlobStore, layout: Layout) -> None:
    writer = lead(spool)
    writer.begin(len(CONTENT))
    writer.append([CONTENT])

    assert writer.verify()
    await writer.publish(blobs)

    assert held(blobs) == CONTENT
    assert list(layout.spools.iterdir()) == []
    assert spool.progress().state is SpoolState.PUBLISHED


def test_each_piece_may_be_read_once_it_is_appended(spool: Spool) -> None:
    writer = lead(spool)
    writer.begin(len(CONTENT))

    writer.append([CONTENT[:100]])

    assert spool.progress().written == 100
    assert os.pread(spool.data.fileno(), 100, 0) == CONTENT[:100]


def test_wrong_content_is_not_verified(spool: Spool) -> None:
    writer = lead(spool)
    writer.append([CONTENT[:-1] + b"x"])

    assert not writer.verify()
    assert spool.progress().state is SpoolState.EMPTY


async def test_room_for_a_size_that_was_wrong_is_no_part_of_the_blob(spool: Spool, blobs: BlobStore) -> None:
    writer = lead(spool)
    writer.begin(len(CONTENT) + 5000)
    writer.append([b"wrong" * 10])
    writer.start_over()
    writer.begin(len(CONTENT))
    writer.append([CONTENT])

    assert writer.verify()
    await writer.publish(blobs)

    assert held(blobs) == CONTENT


async def test_another_file_under_its_name_is_never_published(spool: Spool, blobs: BlobStore, layout: Layout) -> None:
    writer = lead(spool)
    writer.append([CONTENT])
    assert writer.verify()
    layout.spool_data(DIGEST).unlink()
    layout.spool_data(DIGEST).write_bytes(b"somebody else's")

    with pytest.raises(StoreUnusable):
        await writer.publish(blobs)

    assert not blobs.has(DIGEST)


def test_starting_over_forgets_size_bytes_and_hash(spool: Spool) -> None:
    writer = lead(spool)
    writer.begin(50)
    writer.append([b"wrong"])

    writer.start_over()

    assert (writer.written, writer.size, writer.inherited) == (0, None, 0)
    assert spool.progress().generation == 1
    writer.append([CONTENT])
    assert writer.verify()


def test_starting_over_gives_the_room_back(spool: Spool) -> None:
    writer = lead(spool)
    writer.begin(10_000_000)

    writer.start_over()

    assert os.fstat(spool.data.fileno()).st_size == 0


def test_a_new_leader_goes_on_with_the_bytes_that_are_there(spool: Spool) -> None:
    first = lead(spool)
    first.begin(len(CONTENT))
    first.append([CONTENT[:3000]])
    spool.end_lead(first)

    second = lead(spool)
    second.rehash(SystemClock().monotonic)
    second.append([CONTENT[3000:]])

    assert (second.inherited, second.size) == (3000, len(CONTENT))
    assert second.verify()


def test_bytes_that_a_power_cut_took_are_not_promised_to_anybody(spool: Spool) -> None:
    first = lead(spool)
    first.begin(len(CONTENT))
    first.append([CONTENT[:3000]])
    spool.end_lead(first)
    os.truncate(spool.data.fileno(), 1000)

    second = lead(spool)

    assert spool.progress().written == 1000
    second.rehash(SystemClock().monotonic)
    second.append([CONTENT[1000:]])
    assert second.verify()


def test_rehashing_says_that_the_leader_lives(spool: Spool) -> None:
    first = lead(spool)
    first.append([CONTENT])
    spool.end_lead(first)

    lead(spool).rehash(lambda: 77.0)

    assert spool.heartbeat_age == pytest.approx(SystemClock().monotonic() - 77.0, abs=5)


def test_giving_up_leaves_the_bytes_for_the_next_one(spool: Spool) -> None:
    writer = lead(spool)
    writer.append([CONTENT[:10]])

    writer.fail(b"why")

    assert (spool.progress().state, spool.progress().written, spool.failure) == (SpoolState.FAILED, 10, b"why")


def test_a_discarded_spool_is_gone_and_its_readers_read_on(spool: Spool, layout: Layout) -> None:
    writer = lead(spool)
    writer.append([CONTENT])

    writer.discard()

    assert spool.is_gone()
    assert list(layout.spools.iterdir()) == []
    assert os.pread(spool.data.fileno(), len(CONTENT), 0) == CONTENT


def test_a_leader_that_died_between_publishing_and_saying_so_is_spoken_for(
    spool: Spool, blobs: BlobStore, layout: Layout
) -> None:
    first = lead(spool)
    first.append([CONTENT])
    assert first.verify()
    blobs.publish(DIGEST, layout.spool_data(DIGEST))
    spool.end_lead(first)

    lead(spool).mark_published()

    assert (spool.progress().state, spool.progress().written) == (SpoolState.PUBLISHED, len(CONTENT))
    assert spool.is_published()
    assert not layout.spool_record(DIGEST).exists()


def write_in_turns(layout: Layout, content: bytes, pieces: list[int], deaths: set[int]) -> bytes:
    """Append pieces of these sizes, with a new leader before each piece whose number is in `deaths`."""
    digest = digest_of(content)
    with Spools(layout, SystemClock()).use(digest) as spool:
        writer = spool.try_lead(NAME)
        for number, size in enumerate([*pieces, len(content)]):
            if number in deaths:
                assert writer is not None
                spool.end_lead(writer)
                writer = spool.try_lead(NAME)
                assert writer is not None
                writer.rehash(SystemClock().monotonic)
            assert writer is not None
            writer.append([content[writer.written : writer.written + size]])
        assert writer is not None
        assert writer.verify()
        return os.pread(spool.data.fileno(), len(content) + 1, 0)


@given(
    content=st.binary(max_size=3000),
    pieces=st.lists(st.integers(0, 700), max_size=8),
    deaths=st.sets(st.integers(0, 8)),
)
def test_any_pieces_and_any_leaders_give_the_same_blob(content: bytes, pieces: list[int], deaths: set[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        layout = Layout(Path(directory))
        layout.prepare()

        assert write_in_turns(layout, content, pieces, deaths) == content
