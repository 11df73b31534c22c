import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.digest import digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.layout import Layout
from proxycache.store.spool import HELD_BACK_BYTES, Spool, Spools, servable
from proxycache.store.spool_record import Progress, SpoolState
from proxycache.store.spool_writer import SpoolWriter
from tests.fakes.clock import FakeClock
from tests.unit.store.conftest import StartProcess

CONTENT = bytes(range(256)) * 1024
DIGEST = digest_of(CONTENT)
NAME = "docker.io/library/alpine"
SOON = 10.0
DAY = 86_400.0
ELSEWHERE = """\
import sys
from pathlib import Path
from proxycache.clock import SystemClock
from proxycache.oci.digest import parse_digest
from proxycache.store.layout import Layout
from proxycache.store.spool import Spools

with Spools(Layout(Path(sys.argv[1])), SystemClock()).use(parse_digest(sys.argv[2])) as spool:
    writer = spool.try_lead("docker.io/library/alpine")
    print("leads" if writer else "follows", flush=True)
    for line in sys.stdin:
        writer.append([bytes.fromhex(line)])
        print(writer.written, flush=True)
"""

PUBLISHING = """\
import asyncio, os, tempfile
from pathlib import Path
from proxycache.clock import SystemClock
from proxycache.oci.digest import digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.layout import Layout
from proxycache.store.spool import Spools

async def publish(layout, content):
    digest, clock = digest_of(content), SystemClock()
    with Spools(layout, clock).use(digest) as spool:
        writer = spool.try_lead("docker.io/library/alpine")
        writer.append([content])
        spool.end_lead(writer)
    layout.spool_data(digest).chmod(0o444)
    with Spools(layout, clock).use(digest) as spool:
        writer = spool.try_lead("docker.io/library/alpine")
        writer.rehash(clock.monotonic)
        assert writer.verify()
        await writer.publish(BlobStore(layout))
    print(oct(layout.blob(digest).stat().st_mode & 0o777), layout.blob(digest).read_bytes() == content)

asyncio.run(asyncio.to_thread(tempfile.gettempdir))  # imports what may not be readable afterwards
if os.getuid() == 0:
    os.setuid(65534)  # root may write what is read-only
with tempfile.TemporaryDirectory() as directory:
    layout = Layout(Path(directory))
    layout.prepare()
    asyncio.run(publish(layout, b"content"))
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spools(layout: Layout, clock: FakeClock) -> Spools:
    return Spools(layout, clock)


@pytest.fixture
def elsewhere(layout: Layout, clock: FakeClock) -> Spools:
    """The spools as another process sees them."""
    return Spools(layout, clock)


@pytest.fixture
def spool(spools: Spools) -> Iterator[Spool]:
    with spools.use(DIGEST) as spool:
        yield spool


def lead(spool: Spool) -> SpoolWriter:
    writer = spool.try_lead(NAME)
    assert writer is not None
    return writer


def write_verified(spool: Spool) -> SpoolWriter:
    writer = lead(spool)
    writer.begin(len(CONTENT))
    writer.append([CONTENT])
    assert writer.verify()
    return writer


progresses = st.builds(
    Progress,
    state=st.sampled_from(SpoolState),
    size=st.none() | st.integers(0, 10 * HELD_BACK_BYTES),
    written=st.integers(0, 10 * HELD_BACK_BYTES),
    attempt=st.just(1),
    generation=st.just(0),
)


@given(progresses)
def test_the_tail_goes_to_nobody_before_it_is_verified(progress: Progress) -> None:
    limit = servable(progress)

    assert 0 <= limit <= progress.written
    if progress.state not in (SpoolState.VERIFIED, SpoolState.PUBLISHED):
        end = progress.written if progress.size is None else progress.size
        assert limit <= max(0, end - HELD_BACK_BYTES)


@given(progresses)
def test_all_that_is_verified_may_go(progress: Progress) -> None:
    if progress.state in (SpoolState.VERIFIED, SpoolState.PUBLISHED):
        assert servable(progress) == progress.written


@given(
    sizes=st.lists(st.integers(1, 90_000), min_size=1, max_size=8),
    reads=st.lists(st.integers(1, 90_000), min_size=1),
    is_sized=st.booleans(),
)
def test_a_follower_reads_the_blobs_prefix_at_any_read_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], reads: list[int], is_sized: bool
) -> None:
    layout = Layout(tmp_path_factory.mktemp("store"))
    layout.prepare()
    got = b""
    with Spools(layout, FakeClock()).use(DIGEST) as spool, Spools(layout, FakeClock()).use(DIGEST) as follower:
        writer = lead(spool)
        writer.begin(len(CONTENT) if is_sized else None)
        for size in [*sizes, len(CONTENT)]:
            writer.append([CONTENT[writer.written : writer.written + size]])
            for read in reads:
                limit = servable(follower.progress())
                got += os.pread(follower.data.fileno(), min(read, limit - len(got)), len(got))
            assert CONTENT.startswith(got)
            assert len(got) <= max(0, len(CONTENT) - HELD_BACK_BYTES)
        assert writer.verify()
        assert os.pread(follower.data.fileno(), servable(follower.progress()), 0) == CONTENT


def test_one_leads_and_others_follow(spool: Spool, elsewhere: Spools) -> None:
    writer = lead(spool)

    with elsewhere.use(DIGEST) as other:
        assert spool.try_lead(NAME) is None
        assert other.try_lead(NAME) is None
        spool.end_lead(writer)
        assert other.try_lead(NAME) is not None


def test_a_fill_is_for_the_repository_of_its_leader(spool: Spool, elsewhere: Spools) -> None:
    lead(spool)

    with elsewhere.use(DIGEST) as other:
        assert other.is_fetched_for(NAME)
        assert not other.is_fetched_for("ghcr.io/private/app")


def test_a_killed_leaders_bytes_and_lease_go_to_the_next_one(
    spool: Spool, layout: Layout, start_process: StartProcess
) -> None:
    leader = start_process(ELSEWHERE, layout.directory, DIGEST)
    assert leader.stdin is not None
    assert leader.stdout is not None
    assert leader.stdout.readline() == "leads\n"
    leader.stdin.write(CONTENT[:5000].hex() + "\n")
    leader.stdin.flush()
    assert leader.stdout.readline() == "5000\n"
    assert spool.try_lead(NAME) is None

    leader.kill()
    leader.wait()

    assert lead(spool).inherited == 5000


def test_of_many_processes_one_leads(layout: Layout, start_process: StartProcess) -> None:
    started = [start_process(ELSEWHERE, layout.directory, DIGEST) for _ in range(4)]

    said = sorted(process.stdout.readline() for process in started if process.stdout)

    assert said == ["follows\n", "follows\n", "follows\n", "leads\n"]


async def test_a_follower_notices_what_another_process_wrote(
    spool: Spool, layout: Layout, start_process: StartProcess
) -> None:
    leader = start_process(ELSEWHERE, layout.directory, DIGEST)
    assert leader.stdin is not None
    assert leader.stdout is not None
    await asyncio.to_thread(leader.stdout.readline)
    seen = spool.progress()

    leader.stdin.write(CONTENT[:100].hex() + "\n")
    leader.stdin.flush()

    assert await spool.wait_for_change(seen, seconds=SOON)
    assert spool.progress().written == 100


async def test_a_follower_notices_what_its_own_process_wrote(spool: Spool) -> None:
    writer = lead(spool)
    waiting = asyncio.gather(*(spool.wait_for_change(spool.progress(), seconds=SOON) for _ in range(3)))  # noqa: TID251 - a test may
    await asyncio.sleep(0)

    writer.append([b"x"])
    spool.notify()

    assert await waiting == [True, True, True]


async def test_a_change_between_looking_and_polling_is_noticed(spool: Spool, elsewhere: Spools) -> None:
    with elsewhere.use(DIGEST) as led:
        writer = lead(led)
        waiting = asyncio.get_running_loop().create_task(spool.wait_for_change(spool.progress(), seconds=SOON))
        asyncio.get_running_loop().call_soon(writer.append, [b"x"])  # after the waiter looked, before its poller does

        assert await waiting


async def test_waiting_for_a_change_ends(spool: Spool) -> None:
    lead(spool)

    assert not await spool.wait_for_change(spool.progress(), seconds=0.01)


async def test_a_change_that_came_before_is_not_waited_for(spool: Spool) -> None:
    seen = spool.progress()
    lead(spool).append([b"x"])

    assert await spool.wait_for_change(seen, seconds=0)


async def test_who_had_it_open_reads_what_was_published(spool: Spool, elsewhere: Spools, blobs: BlobStore) -> None:
    with elsewhere.use(DIGEST) as other:
        await write_verified(spool).publish(blobs)

        assert (other.progress().state, other.is_published(), other.is_gone()) == (SpoolState.PUBLISHED, True, True)
        assert os.pread(other.data.fileno(), servable(other.progress()), 0) == CONTENT


def test_who_comes_between_the_blob_and_the_end_of_its_record_finds_it_gone(
    spool: Spool, elsewhere: Spools, blobs: BlobStore, layout: Layout
) -> None:
    write_verified(spool)
    blobs.publish(DIGEST, layout.spool_data(DIGEST))

    with elsewhere.use(DIGEST) as late:
        assert late.is_gone()
        assert late.try_lead(NAME) is None


def test_a_leader_that_died_after_making_the_data_read_only_is_followed_by_one_who_publishes_it(
    start_process: StartProcess,
) -> None:
    said, errors = start_process(PUBLISHING).communicate()

    assert (said, errors) == ("0o444 True\n", "")


def test_a_record_whose_data_is_lost_is_led_from_the_start(spool: Spool, elsewhere: Spools, layout: Layout) -> None:
    spool.end_lead(write_verified(spool))
    layout.spool_data(DIGEST).unlink()

    with elsewhere.use(DIGEST) as found:
        writer = lead(found)

        assert (writer.inherited, found.progress().written, found.is_gone()) == (0, 0, False)
        writer.append([CONTENT])
        assert writer.verify()


def test_no_second_leader_comes_of_an_unlinked_record(spool: Spool, elsewhere: Spools) -> None:
    writer = lead(spool)
    with elsewhere.use(DIGEST) as late:
        writer.discard()
        spool.end_lead(writer)

        assert late.try_lead(NAME) is None
        with elsewhere.use(DIGEST) as fresh:
            assert fresh is not late
            assert fresh.try_lead(NAME) is not None


def test_users_of_one_process_share_a_spool_until_the_last_leaves(spools: Spools) -> None:
    with spools.use(DIGEST) as first:
        with spools.use(DIGEST) as second:
            assert second is first
        assert not first.data.closed
    assert first.data.closed


async def test_closing_ends_the_poller(spools: Spools) -> None:
    with spools.use(DIGEST) as spool:
        await spool.wait_for_change(spool.progress(), seconds=0)
    await asyncio.sleep(0)

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("poll")]


def test_a_disk_that_refuses_leaves_nothing_open(spools: Spools, layout: Layout) -> None:
    layout.spools.rmdir()

    with pytest.raises(FileNotFoundError), spools.use(DIGEST):
        pass


def test_a_distrusted_digest_is_so_for_a_minute_and_for_everybody(
    spools: Spools, elsewhere: Spools, clock: FakeClock
) -> None:
    assert not elsewhere.is_distrusted(DIGEST)
    spools.distrust(DIGEST)
    clock.advance(59)
    assert elsewhere.is_distrusted(DIGEST)

    clock.advance(2)

    assert not elsewhere.is_distrusted(DIGEST)


def test_wrong_content_again_begins_the_minute_anew(spools: Spools, clock: FakeClock) -> None:
    spools.distrust(DIGEST)
    clock.advance(50)
    spools.distrust(DIGEST)
    clock.advance(50)

    assert spools.is_distrusted(DIGEST)


def age_by(layout: Layout, clock: FakeClock, seconds: float, *suffixes: str) -> None:
    for path in layout.spools.iterdir():
        moment = clock.now() - (seconds if path.suffix in suffixes else 0)
        os.utime(path, (moment, moment))


@pytest.mark.parametrize("fresh", [".data", ".record", ".distrusted"])
def test_a_spool_of_which_anything_is_fresh_stays(spools: Spools, layout: Layout, clock: FakeClock, fresh: str) -> None:
    with spools.use(DIGEST):
        spools.distrust(DIGEST)
    age_by(layout, clock, DAY + 1, *({".data", ".record", ".distrusted"} - {fresh}))

    assert spools.expire(DAY) == 0
    assert len(list(layout.spools.iterdir())) == 3


def test_old_spools_and_old_leftovers_expire(spools: Spools, layout: Layout, clock: FakeClock) -> None:
    with spools.use(DIGEST):
        spools.distrust(digest_of(b"other"))
    layout.new_spool().touch()
    age_by(layout, clock, DAY + 1, ".data", ".record", ".distrusted")

    assert spools.expire(DAY) == 3
    assert list(layout.spools.iterdir()) == []


def test_what_is_led_does_not_expire(spool: Spool, elsewhere: Spools, layout: Layout, clock: FakeClock) -> None:
    lead(spool)
    age_by(layout, clock, DAY + 1, ".data", ".record")

    assert elsewhere.expire(DAY) == 0
    assert layout.spool_data(DIGEST).exists()


def test_a_record_that_has_another_leader_by_now_is_none_of_the_expired(
    spools: Spools, layout: Layout, clock: FakeClock
) -> None:
    with ExitStack() as stack:
        stack.enter_context(spools.use(DIGEST))
        age_by(layout, clock, DAY + 1, ".data", ".record")
        spools.expire(DAY)
        lead(stack.enter_context(spools.use(DIGEST)))

        assert spools.expire(-1.0) == 0


def test_only_the_owner_may_read_a_spool(spool: Spool, layout: Layout) -> None:
    modes = {Path(path).stat().st_mode & 0o777 for path in layout.spools.iterdir()}

    assert spool.progress().state is SpoolState.EMPTY
    assert modes == {0o600}
