import asyncio
import json
import os
import select
from collections.abc import Iterator

import pytest

from proxycache.observe.access_log import (
    FLUSH_ENTRIES,
    AccessEntry,
    AccessLog,
    format_json,
    format_text,
    visible_path,
    whole_lines,
)
from proxycache.observe.settings import LogSettings

ENTRY = AccessEntry(
    at=1767225600.0625,
    remote="127.0.0.1",
    method="GET",
    target="/v2/library/alpine/manifests/latest?ns=docker.io&_state=secret",
    status=200,
    sent_bytes=528,
    seconds=0.00123,
    cache="hit",
    user_agent="docker/20.10 go/1.19",
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_text_line_says_who_asked_what_and_what_came_of_it():
    assert format_text(ENTRY) == (
        "2026-01-01T00:00:00.062Z INFO request remote=127.0.0.1 method=GET"
        " path=/v2/library/alpine/manifests/latest?ns=docker.io status=200 bytes=528 seconds=0.0012"
        ' cache=hit user_agent="docker/20.10 go/1.19"\n'
    )


def test_a_json_line_says_the_same():
    assert json.loads(format_json(ENTRY)) == {
        "time": "2026-01-01T00:00:00.062Z",
        "level": "info",
        "event": "request",
        "remote": "127.0.0.1",
        "method": "GET",
        "path": "/v2/library/alpine/manifests/latest?ns=docker.io",
        "status": 200,
        "bytes": 528,
        "seconds": 0.0012,
        "cache": "hit",
        "user_agent": "docker/20.10 go/1.19",
    }


@pytest.mark.parametrize("format_entry", [format_text, format_json])
def test_a_client_cannot_begin_a_line_of_its_own(format_entry):
    forged = ENTRY._replace(target="/v2/\r\nforged", user_agent='x\n"forged', method="G\nET", remote="\n")

    assert len(format_entry(forged).splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "shown"),
    [("/v2/", "/v2/"), ("/v2/?n=5", "/v2/"), ("/v2/?a=b&ns=ghcr.io", "/v2/?ns=ghcr.io"), ("/?", "/")],
)
def test_of_the_query_only_the_registry_is_shown(target, shown):
    assert visible_path(target) == shown


async def test_an_entry_is_written_before_long(pipe):
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe[0], readable.set)
    log = AccessLog(LogSettings(), descriptor=pipe[1])

    log.record(ENTRY)

    await readable.wait()
    asyncio.get_running_loop().remove_reader(pipe[0])
    assert os.read(pipe[0], 4096) == format_text(ENTRY).encode()


async def test_many_entries_are_written_at_once(pipe):
    log = AccessLog(LogSettings(format="json"), descriptor=pipe[1])

    for _ in range(FLUSH_ENTRIES):
        log.record(ENTRY)

    assert os.read(pipe[0], 2**16).count(b"\n") == FLUSH_ENTRIES


async def test_closing_writes_what_is_left(pipe):
    log = AccessLog(LogSettings(), descriptor=pipe[1])
    log.record(ENTRY)

    log.close()

    assert os.read(pipe[0], 4096).endswith(b"\n")


async def test_above_the_level_info_nothing_is_written(pipe):
    log = AccessLog(LogSettings(level="warning"), descriptor=pipe[1])
    log.record(ENTRY)

    log.close()

    assert select.select([pipe[0]], [], [], 0)[0] == []


async def test_requests_go_on_when_nobody_reads_the_log():
    reading, writing = os.pipe()
    os.close(reading)
    log = AccessLog(LogSettings(), descriptor=writing)
    log.record(ENTRY)

    log.close()

    os.close(writing)


def test_pieces_hold_whole_lines_that_a_pipe_takes_at_once():
    lines = [f"{'x' * length}\n" for length in (10, 4000, 500, 9000, 3)]

    pieces = list(whole_lines(lines))

    assert b"".join(pieces) == "".join(lines).encode()
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert all(len(piece) <= select.PIPE_BUF or piece.count(b"\n") == 1 for piece in pieces)
