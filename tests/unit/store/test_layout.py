import stat
from pathlib import Path

import pytest

from proxycache.oci.digest import digest_of
from proxycache.store.errors import FormatTooNew, StoreDamaged, StoreUnusable
from proxycache.store.layout import Layout
from tests.unit.store.conftest import StartProcess

# Root may write anywhere, so it becomes nobody; it enters the directory first, since nobody may not reach it.
PREPARE_AS_NOBODY = """
import os, sys
from pathlib import Path
from proxycache.store.errors import StoreUnusable
from proxycache.store.layout import Layout
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)
try:
    Layout(Path(".")).prepare()
except StoreUnusable as error:
    print(error)
"""


def test_blob_lies_below_the_start_of_its_digest() -> None:
    digest = digest_of(b"x")

    path = Layout(Path("/data")).blob(digest)

    assert path == Path("/data/blobs/sha256") / digest.encoded[:2] / digest.encoded


def test_spools_of_two_algorithms_do_not_meet() -> None:
    layout = Layout(Path("/data"))
    digests = [digest_of(b"x"), digest_of(b"x", "sha512")]

    paths = {path for digest in digests for path in (layout.spool_data(digest), layout.spool_record(digest))}

    assert len(paths) == 4
    assert {path.parent for path in paths} == {layout.spools}


@pytest.mark.parametrize("key", ["tag docker.io/library/alpine:latest", "../../etc/passwd", "ключ", "x" * 10_000])
def test_lock_of_any_key_is_a_plain_name(key: str) -> None:
    layout = Layout(Path("/data"))

    path = layout.lock(key)

    assert path.parent == layout.locks
    assert len(path.name) == 32
    assert path != layout.lock(key + "x")


def test_prepare_makes_the_tree(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "a" / "b")

    layout.prepare()

    assert layout.format.read_text() == "1\n"
    assert layout.blobs.is_dir()
    assert layout.spools.is_dir()
    assert layout.locks.is_dir()
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o700


def test_prepare_keeps_what_is_there(layout: Layout) -> None:
    (layout.secrets / "token.key").write_bytes(b"secret")

    layout.prepare()

    assert (layout.secrets / "token.key").read_bytes() == b"secret"


def test_newer_format_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("2\n")

    with pytest.raises(FormatTooNew, match="has format 2, and this version knows 1"):
        Layout(tmp_path).prepare()

    assert [path.name for path in tmp_path.iterdir()] == ["format"]


@pytest.mark.parametrize("content", [b"", b"one", b"-1", b"\xff\xfe"])
def test_unreadable_format_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "format").write_bytes(content)

    with pytest.raises(StoreDamaged, match="version number was expected"):
        Layout(tmp_path).prepare()


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").touch()

    with pytest.raises(StoreUnusable, match="store"):
        Layout(tmp_path / "store").prepare()


@pytest.mark.parametrize("is_prepared", [False, True])
def test_read_only_directory_is_refused(tmp_path: Path, start_process: StartProcess, *, is_prepared: bool) -> None:
    if is_prepared:
        Layout(tmp_path).prepare()
    tmp_path.chmod(0o555)

    output, errors = start_process(PREPARE_AS_NOBODY, tmp_path).communicate()

    tmp_path.chmod(0o755)
    assert output.startswith("cannot use "), errors
    assert output.count("\n") == 1
