"""What is durable, in which order, and what a process leaves that is killed at any step."""

import hashlib
import signal
import stat
from pathlib import Path

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store import durable
from proxycache.store.layout import Layout
from tests.unit.store.conftest import StartProcess

CONTENT = b"layer" * 1000

# Publishes a spool and says each durable step; kills itself before the step of the given number.
PUBLISH_AND_DIE = """
import os, signal, sys
from pathlib import Path
from proxycache.oci.digest import digest_of
from proxycache.store.blobs import BlobStore
from proxycache.store.layout import Layout

layout, last_step, steps = Layout(Path(sys.argv[1])), int(sys.argv[2]), 0

def trace(name):
    original = getattr(os, name)
    def step(*arguments, **options):
        global steps
        if steps == last_step:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        subject = arguments[0]
        path = os.readlink(f"/proc/self/fd/{subject}") if isinstance(subject, int) else str(subject)
        print(name, path.removeprefix(f"{layout.directory}/"), flush=True)
        return original(*arguments, **options)
    setattr(os, name, step)

for name in ("fsync", "fchmod", "mkdir", "replace"):
    trace(name)
content = b"layer" * 1000
digest = digest_of(content)
layout.spool_data(digest).unlink(missing_ok=True)
layout.spool_data(digest).write_bytes(content)
BlobStore(layout).publish(digest, layout.spool_data(digest))
"""

ALL_STEPS = 9


def test_steps_of_publishing_come_in_the_promised_order(layout: Layout, start_process: StartProcess) -> None:
    digest = digest_of(CONTENT)
    spool, shard = f"spools/sha256-{digest.encoded}.data", f"blobs/sha256/{digest.encoded[:2]}"

    output, errors = start_process(PUBLISH_AND_DIE, layout.directory, ALL_STEPS).communicate()

    assert output.splitlines() == [
        f"fsync {spool}",
        f"fchmod {spool}",
        "mkdir blobs/sha256",
        "fsync blobs",
        f"mkdir {shard}",
        "fsync blobs/sha256",
        f"replace {spool}",
        f"fsync {shard}",
    ], errors


@pytest.mark.parametrize("step", range(ALL_STEPS - 1))
def test_blobs_are_whole_whenever_the_publisher_is_killed(
    layout: Layout, start_process: StartProcess, step: int
) -> None:
    killed = start_process(PUBLISH_AND_DIE, layout.directory, step)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL

    found = [path for path in layout.blobs.rglob("*") if path.is_file()]
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in found)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o444 for path in found)
    assert len(found) == (1 if step == ALL_STEPS - 2 else 0)  # it was renamed, and not yet synced

    again = start_process(PUBLISH_AND_DIE, layout.directory, ALL_STEPS)
    again.communicate()
    assert again.returncode == 0
    assert layout.blob(digest_of(CONTENT)).read_bytes() == CONTENT
    assert list(layout.spools.iterdir()) == []


def test_publishing_replaces_and_makes_read_only(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "a" / "b" / "target"
    source.write_bytes(b"new")

    durable.publish_file(source, target)

    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    assert not source.exists()


def test_publishing_that_fails_keeps_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"new")
    (tmp_path / "file").touch()

    with pytest.raises(FileExistsError):
        durable.publish_file(source, tmp_path / "file" / "target")

    assert source.read_bytes() == b"new"


def test_written_file_has_its_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    path.write_bytes(b"old")

    durable.write_file(path, b"new", 0o600)

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()

    with pytest.raises(IsADirectoryError):
        durable.write_file(tmp_path / "directory", b"new", 0o600)

    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
