"""`refresh` as a process of its own, with no cache running: what it asks, tells and writes down."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import proxycache
from proxycache.store.database import Database
from proxycache.store.layout import Layout
from proxycache.store.tags import TagRow, Tags
from tests.builders import Image, image, schema1_manifest
from tests.fakes.auth import TokenAuth
from tests.fakes.faults import Fault, answer, rate_limited, without_header
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.fakes.vanishing import refused_port

NAME, TAG = "library/alpine", "3"
ONE, TWO = image(seed="one"), image(seed="two")
CONFIG = """\
[server]
offline = {offline}
[storage]
directory = "{directory}"
[upstreams."docker.io"]
url = "{upstream}"
tag_rules = [{{ match = ".*", fresh_for = "forever" }}]
{more}
"""

Configure = Callable[..., None]


@pytest.fixture
def upstream() -> Iterator[ThreadedRegistry]:
    with ThreadedRegistry() as registry:
        yield registry


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    return layout


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "proxycache.toml"


@pytest.fixture
def configure(config: Path, layout: Layout, upstream: ThreadedRegistry) -> Configure:
    """Write the configuration; `more` is of the upstream."""

    def configure(more: str = "", *, url: str = upstream.url, offline: str = "false") -> None:
        config.write_text(CONFIG.format(directory=layout.directory, upstream=url, offline=offline, more=more))

    configure()
    return configure


def refresh(config: Path, what: str = "alpine:3", **environment: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    command = [sys.executable, "-m", "proxycache", "refresh", what, "--config", str(config)]
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**inherited, **environment}
    )
    return done.returncode, done.stdout, done.stderr


def find_tag(layout: Layout) -> TagRow | None:
    async def find() -> TagRow | None:
        database = await Database.open(layout.database)
        try:
            return await Tags(database).find(f"docker.io/{NAME}", TAG)
        finally:
            await database.close()

    return asyncio.run(find())


def hold(config: Path, upstream: ThreadedRegistry, held: Image = ONE) -> None:
    """Let the cache know where the tag points."""
    upstream.add_image(NAME, held, tag=TAG)
    assert refresh(config) == (0, f"new {held.digest}\n", "")


@pytest.mark.usefixtures("configure")
def test_a_tag_is_asked_for_however_fresh_it_is(config: Path, layout: Layout, upstream: ThreadedRegistry) -> None:
    hold(config, upstream)
    unchanged = refresh(config)
    upstream.add_image(NAME, TWO, tag=TAG)
    moved = refresh(config, "docker.io/library/alpine:3")

    assert unchanged == (0, f"unchanged {ONE.digest}\n", "")
    assert moved == (0, f"moved {ONE.digest} → {TWO.digest}\n", "")
    assert upstream.count("HEAD", f"/manifests/{TAG}") == 3
    row = find_tag(layout)
    assert row is not None
    assert (str(row.digest), row.size) == (TWO.digest, len(TWO.body))


@pytest.mark.usefixtures("configure")
def test_an_upstream_that_names_no_digest_gives_the_manifest(
    config: Path, layout: Layout, upstream: ThreadedRegistry
) -> None:
    upstream.faults.add(without_header("Docker-Content-Digest"), method="HEAD", times=None)

    hold(config, upstream)

    assert [path.read_bytes() for path in layout.blobs.rglob("*") if path.is_file()] == [ONE.body]


@pytest.mark.usefixtures("configure")
def test_a_tag_that_is_gone_is_forgotten(config: Path, layout: Layout, upstream: ThreadedRegistry) -> None:
    hold(config, upstream)
    del upstream.repository(NAME).tags[TAG]

    gone = refresh(config)

    assert gone == (1, "", f"gone docker.io/{NAME}:{TAG}, and forgotten: docker.io: not found\n")
    assert find_tag(layout) is None


@pytest.mark.usefixtures("configure")
def test_a_tag_that_is_schema_1_is_gone_for_us(config: Path, layout: Layout, upstream: ThreadedRegistry) -> None:
    hold(config, upstream)
    upstream.add_manifest(NAME, schema1_manifest(), tag=TAG)

    code, _, told = refresh(config)

    assert (code, find_tag(layout)) == (1, None)
    assert "schema 1 only" in told


@pytest.mark.parametrize("fault", [answer(503), answer(401), answer(403), rate_limited("30")])
@pytest.mark.usefixtures("configure")
def test_what_the_upstream_does_not_tell_changes_nothing(
    config: Path, layout: Layout, upstream: ThreadedRegistry, fault: Fault
) -> None:
    hold(config, upstream)
    before = find_tag(layout)
    upstream.add_image(NAME, TWO, tag=TAG)
    upstream.faults.add(fault, times=None)

    code, printed, told = refresh(config)

    assert (code, printed, told.count("\n")) == (2, "", 1)
    assert told.startswith("proxycache: docker.io: ")
    assert find_tag(layout) == before


@pytest.mark.parametrize("is_gone", [True, False])
@pytest.mark.usefixtures("configure")
def test_what_cannot_be_written_down_is_not_told_as_done(
    config: Path, layout: Layout, upstream: ThreadedRegistry, is_gone: bool
) -> None:
    hold(config, upstream)
    before = find_tag(layout)
    upstream.add_image(NAME, TWO, tag=TAG)
    if is_gone:
        del upstream.repository(NAME).tags[TAG]

    with contextlib.closing(sqlite3.connect(layout.database)) as database:
        for change in ("INSERT", "UPDATE", "DELETE"):
            refusal = "BEGIN SELECT RAISE(ABORT, 'no more rows'); END"
            database.execute(f"CREATE TRIGGER no_{change} BEFORE {change} ON tags {refusal}")

    assert refresh(config) == (2, "", f"proxycache: cannot use {layout.database}: no more rows\n")

    assert find_tag(layout) == before


def test_an_upstream_that_is_away_changes_nothing(
    config: Path, configure: Configure, layout: Layout, upstream: ThreadedRegistry
) -> None:
    hold(config, upstream)
    before = find_tag(layout)

    with refused_port() as port:
        configure(url=f"http://127.0.0.1:{port}")
        code, printed, told = refresh(config)

    assert (code, printed, told.count("\n")) == (2, "", 1)
    assert told.startswith("proxycache: docker.io: ")
    assert find_tag(layout) == before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"offline": "true"}, "docker.io: offline = true: nobody is asked"),
        ({"more": 'deny = ["library/*"]'}, f"docker.io/{NAME}: refused by the rules of this cache"),
        ({"more": 'allow = ["org/*"]'}, f"docker.io/{NAME}: refused by the rules of this cache"),
    ],
)
def test_nobody_is_asked_who_must_not_be(
    config: Path, configure: Configure, upstream: ThreadedRegistry, changes: dict[str, str], why: str
) -> None:
    hold(config, upstream)
    upstream.requests.clear()
    configure(**changes)

    assert refresh(config) == (2, "", f"proxycache: {why}\n")

    assert upstream.requests == []


def test_what_is_private_is_asked_for_with_our_credentials(
    config: Path, configure: Configure, upstream: ThreadedRegistry
) -> None:
    upstream.auth = TokenAuth(username="ann", password="secret", private={NAME})
    upstream.add_image(NAME, ONE, tag=TAG)
    configure('username = "ann"')

    told = refresh(config, PROXYCACHE_UPSTREAMS__DOCKER_IO__PASSWORD="secret")

    assert told == (0, f"new {ONE.digest}\n", "")


@pytest.mark.parametrize("is_private", [True, False])
def test_the_owner_needs_no_permit(
    config: Path, configure: Configure, upstream: ThreadedRegistry, is_private: bool
) -> None:
    upstream.auth = TokenAuth(username="ann", password="secret", private={NAME} if is_private else set())
    upstream.add_image(NAME, ONE, tag=TAG)
    rule = '{ who = "anonymous", repositories = ["local/**"], actions = ["pull"] }'
    configure(f'username = "ann"\n[auth]\naccess = [{rule}]')

    told = refresh(config, PROXYCACHE_UPSTREAMS__DOCKER_IO__PASSWORD="secret")

    assert told == (0, f"new {ONE.digest}\n", "")


def test_the_rules_of_an_upstream_hold_for_the_owner_too(
    config: Path, configure: Configure, upstream: ThreadedRegistry
) -> None:
    configure('deny = ["library/*"]\n[auth]\naccess = [{ who = "anonymous", actions = ["pull"] }]')

    assert refresh(config) == (2, "", f"proxycache: docker.io/{NAME}: refused by the rules of this cache\n")
    assert upstream.requests == []


def test_only_the_command_line_opens_as_the_owner() -> None:
    package = Path(proxycache.__file__).parent

    callers = {
        path.relative_to(package).parts for path in package.rglob("*.py") if ".open_as_owner(" in path.read_text()
    }

    assert callers == {("cli", "refresh.py")}


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("local/app:1", "local/app: lives here, so there is no upstream to ask"),
        ("alpine", "command line: alpine names no tag: refresh NAME:TAG"),
        ("gone.test/app:1", "gone.test: no such registry is configured"),
        ("alpine:3*", "invalid tag '3*'"),
        (f"alpine@{ONE.digest}", "invalid repository name 'alpine@sha256'"),
    ],
)
@pytest.mark.usefixtures("configure")
def test_what_cannot_be_refreshed_is_one_line(config: Path, upstream: ThreadedRegistry, what: str, why: str) -> None:
    assert refresh(config, what) == (2, "", f"proxycache: {why}\n")

    assert upstream.requests == []


def test_a_directory_without_a_cache_is_left_alone(config: Path, configure: Configure, layout: Layout) -> None:
    layout.format.unlink()
    configure()

    code, _, told = refresh(config)

    assert (code, layout.database.exists()) == (2, False)
    assert "no cache is there" in told


@pytest.mark.usefixtures("configure")
def test_nothing_is_left_behind_where_others_keep_theirs(
    config: Path, layout: Layout, upstream: ThreadedRegistry, tmp_path: Path
) -> None:
    upstream.add_image(NAME, ONE, tag=TAG)
    upstream.faults.add(without_header("Docker-Content-Digest"), method="HEAD", times=None)
    counters = tmp_path / "counters"
    counters.mkdir()

    assert refresh(config, PROMETHEUS_MULTIPROC_DIR=str(counters))[0] == 0

    for directory in (counters, layout.allowances, layout.locks, layout.spools):
        assert list(directory.iterdir()) == []
