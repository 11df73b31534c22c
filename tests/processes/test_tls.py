"""TLS of a whole cache: every kind of body, what is no TLS, and pairs that are exchanged while it serves."""

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.builders import image
from tests.fakes.certificates import Authority, Pair
from tests.fakes.faults import stall, wrong_byte
from tests.fakes.signals import Gate
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.processes.caches import NAME, Connection, RunningCache, blob_path, manifest_path, wait_until

SIZE = 3_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue()


@pytest.fixture
def cache(tmp_path: Path, upstream: ThreadedRegistry, authority: Authority, pair: Pair) -> Iterator[RunningCache]:
    with RunningCache(tmp_path, upstream.url, server=pair.toml, tls=authority.client()) as cache:
        yield cache


def shown_to(connection: Connection) -> bytes:
    """Return the certificate that the client was shown when it connected."""
    assert isinstance(connection.http.sock, ssl.SSLSocket)
    return connection.http.sock.getpeercert(binary_form=True) or b""


def shown_by_each(cache: RunningCache) -> list[bytes]:
    return [shown_to(connection) for connection in cache.connect_each(1)]


def troubles(cache: RunningCache) -> list[str]:
    """Return what the log holds besides lines that tell of work done."""
    return [line for line in cache.log.splitlines() if '"level": "info"' not in line]


# --- bodies ---


def test_it_says_where_it_listens(cache: RunningCache) -> None:
    assert cache.wait_for_log("listening on")["event"] == f"listening on https://127.0.0.1:{cache.port}"


def test_one_connection_gets_every_kind_of_answer(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted, small = upstream.add_blob(NAME, SIZE), upstream.add_image(NAME, image(), tag="3")
    client = cache.connect()

    cold = client.get(blob_path(wanted.digest))
    cache.wait_until_published(wanted.digest)
    held = client.get(blob_path(wanted.digest))
    part = client.get(blob_path(wanted.digest), Range="bytes=1000000-2999998")
    end = client.get(blob_path(wanted.digest), Range="bytes=-7")
    client.ask(blob_path(wanted.digest), method="HEAD")
    head = client.finish()
    manifests = [client.get(manifest_path("3")) for _ in range(3)]  # upstream's, held, remembered

    assert (cold.body, held.body) == (wanted.body, wanted.body)
    assert (part.status, part.body) == (206, wanted.body[1_000_000:2_999_999])
    assert (end.status, end.body) == (206, wanted.body[-7:])
    assert (head.status, head.headers["content-length"], head.body) == (200, str(SIZE), b"")
    assert [answer.body for answer in manifests] == [small.body] * 3
    assert troubles(cache) == []


def test_readers_of_one_growing_file_get_each_their_own_bytes(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=SIZE // 2), on=wanted.digest)
    worker = cache.workers()[0]
    starts = [0, 1_000, 500_000, 1_400_000] * 3
    readers = [cache.connect(worker) for _ in starts]
    for reader, start in zip(readers, starts, strict=True):
        reader.send(blob_path(wanted.digest), Range=f"bytes={start}-")

    with ThreadPoolExecutor(len(readers)) as pool:
        answers = pool.map(Connection.finish, readers)
        gate.arrived.wait_blocking()
        gate.open()
        bodies = [answer.body for answer in answers]

    assert bodies == [wanted.body[start:] for start in starts]
    assert upstream.count("GET", wanted.digest) == 1


def test_http_1_0_gets_a_body_that_ends_with_its_connection(
    cache: RunningCache, upstream: ThreadedRegistry, authority: Authority
) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    cache.get(blob_path(wanted.digest))
    cache.wait_until_published(wanted.digest)

    raw = socket.create_connection(("127.0.0.1", cache.port), timeout=10)
    with authority.client().wrap_socket(raw, server_hostname="localhost") as client:
        client.sendall(f"GET {blob_path(wanted.digest)} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(100_000), b""))

    assert answer.partition(b"\r\n\r\n")[2] == wanted.body


def test_a_body_that_turns_out_wrong_is_cut(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    wanted = upstream.add_blob(NAME, SIZE)
    upstream.faults.add(wrong_byte(5), on=wanted.digest, times=None)

    answer = cache.get(blob_path(wanted.digest))

    assert (answer.is_complete, len(answer.body) < SIZE) == (False, True)


# --- what is no TLS ---


@pytest.mark.parametrize("sent", [b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05junk!", b"\x00" * 9])
def test_what_is_no_tls_is_closed_without_a_word_in_the_log(cache: RunningCache, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", cache.port), timeout=10) as client:
        client.sendall(sent)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = b"".join(iter(lambda: client.recv(1000), b""))

    assert b"HTTP" not in received
    assert cache.get("/v2/").status == 200
    assert cache.terminate() == 0
    assert troubles(cache) == []


def test_a_client_that_trusts_nobody_of_ours_leaves_no_word_in_the_log(cache: RunningCache) -> None:
    raw = socket.create_connection(("127.0.0.1", cache.port), timeout=10)
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")
    raw.close()

    assert cache.get("/v2/").status == 200
    assert cache.terminate() == 0
    assert troubles(cache) == []


def test_who_never_ends_a_handshake_holds_up_nobody_and_no_drain(cache: RunningCache) -> None:
    with contextlib.ExitStack() as stack:
        for sent in [b"", b"\x16\x03\x01\x02\x00\x01"] * 20:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", cache.port)))
            client.sendall(sent)

        assert [client.get("/v2/").status for client in cache.connect_each(2)] == [200] * 4
        assert cache.terminate() == 0
    assert troubles(cache) == []


# --- pairs ---


def test_a_new_pair_in_the_same_files_is_shown_by_every_worker_while_transfers_go_on(
    cache: RunningCache, upstream: ThreadedRegistry, authority: Authority, pair: Pair
) -> None:
    wanted, gate = upstream.add_blob(NAME, SIZE), Gate()
    upstream.faults.add(stall(gate, at=SIZE // 2), on=wanted.digest)
    readers = cache.connect_each(1)
    begun = []
    for reader in readers:
        reader.ask(blob_path(wanted.digest))
        begun.append(reader.read(1000))
    fresh = authority.issue("next")

    fresh.put_in_place_of(pair)
    cache.reload()
    wait_until(lambda: shown_by_each(cache) == [fresh.shown] * 2, "both workers show the new pair")
    gate.open()
    answers = [reader.finish(begun=start) for reader, start in zip(readers, begun, strict=True)]

    assert [(answer.body, answer.is_complete) for answer in answers] == [(wanted.body, True)] * 2
    assert [reader.get("/v2/").status for reader in readers] == [200, 200]
    assert [shown_to(reader) for reader in readers] == [pair.shown] * 2
    assert troubles(cache) == []


def test_a_pair_in_other_files_is_shown_after_a_reload(cache: RunningCache, authority: Authority, pair: Pair) -> None:
    fresh = authority.issue("next", is_rsa=True)

    cache.reload(pair.toml, fresh.toml)

    wait_until(lambda: shown_by_each(cache) == [fresh.shown] * 2, "both workers show the new pair")
    assert troubles(cache) == []


def test_a_pair_that_does_not_fit_is_refused_in_one_line_and_the_old_one_stays(
    cache: RunningCache, authority: Authority, pair: Pair
) -> None:
    pair.key.write_bytes(authority.issue("next").key.read_bytes())

    cache.reload()
    refused = cache.wait_for_log("configuration refused")
    os.kill(cache.workers()[0], signal.SIGKILL)
    cache.wait_for_log("worker ended")
    cache.wait_for_workers()

    assert "server.tls_key = " in refused["error"]
    assert shown_by_each(cache) == [pair.shown] * 2
    assert cache.log.count("configuration refused") == 1


def test_a_worker_that_is_replaced_shows_the_pair_of_the_last_reload(
    cache: RunningCache, authority: Authority, pair: Pair
) -> None:
    fresh = authority.issue("next")
    cache.reload(pair.toml, fresh.toml)
    cache.wait_for_log("configuration reloaded")

    os.kill(cache.workers()[0], signal.SIGKILL)
    cache.wait_for_log("worker ended")
    cache.wait_for_workers()

    wait_until(lambda: shown_by_each(cache) == [fresh.shown] * 2, "both workers show the new pair")


def test_to_do_without_tls_waits_for_a_restart(cache: RunningCache, pair: Pair) -> None:
    cache.reload(pair.toml)

    assert cache.wait_for_log("restart needed")["keys"] == "server.tls_certificate, server.tls_key"
    assert shown_by_each(cache) == [pair.shown] * 2


def test_a_pair_that_cannot_be_used_is_one_line_and_exit_code_2(tmp_path: Path, pair: Pair) -> None:
    secret = pair.key.read_text().splitlines()[1]
    pair.key.write_text(pair.key.read_text().replace("-----END", "-----"))

    code, lines = RunningCache(tmp_path, "http://127.0.0.1:1", server=pair.toml).run()

    assert (code, len(lines)) == (2, 1)
    assert "server.tls_key = " in lines[0]
    assert lines[0].endswith(": must be a file with a private key in PEM")
    assert secret not in lines[0]


def test_a_certificate_that_has_expired_is_served_with_a_warning(
    tmp_path: Path, upstream: ThreadedRegistry, authority: Authority
) -> None:
    old = authority.issue(days=-1)

    with RunningCache(tmp_path, upstream.url, server=old.toml, tls=trusting_blindly()) as cache:
        warning = cache.wait_for_log("clients will refuse the certificate")

        assert (warning["file"], warning["why"]) == (str(old.certificate), "certificate has expired")
        assert cache.get("/v2/").status == 200


def trusting_blindly() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
