"""The supervisor and its workers, as processes."""

import os
import resource
import select
import signal
import socket
import time

import pytest

from tests.processes.conftest import Start


def pidfd_of(pid: int) -> int:
    return os.pidfd_open(pid)


def wait_for_end(pidfd: int, *, within_seconds: float = 10) -> bool:
    """Wait until the process has ended, whoever its parent is."""
    ended = bool(select.select([pidfd], [], [], within_seconds)[0])
    os.close(pidfd)
    return ended


def test_says_where_it_listens_once_all_workers_serve(start: Start, tmp_path):
    record = start().wait_for("listening on http://127.0.0.1:")

    assert record["mirror_of"] == "docker.io"
    assert record["directory"] == str(tmp_path)
    assert record["workers"] == 2


def test_workers_may_have_as_many_files_open_as_the_system_lets_them(start: Start):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        supervised = start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    supervised.wait_until_serving()

    limits = {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in supervised.workers()}

    assert limits == {(hard, hard)}


def test_new_connections_reach_every_worker(start: Start):
    supervised = start()
    supervised.wait_until_serving()

    answered = {supervised.get()[1] for _ in range(100)}

    assert answered == {str(pid) for pid in supervised.workers()}


def test_a_killed_worker_is_replaced_and_requests_go_on(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    killed = supervised.workers()[0]

    os.kill(killed, signal.SIGKILL)

    record = supervised.wait_for("worker ended")
    assert (record["worker"], record["cause"], record["replaced_in_seconds"]) == (killed, "SIGKILL", 0.0)
    supervised.wait_for("worker started")
    assert supervised.get()[0] == 200
    assert len(supervised.workers()) == 2


def test_connections_that_wait_for_a_killed_worker_are_answered(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    for pid in supervised.workers():
        os.kill(pid, signal.SIGSTOP)
    connections = [supervised.open("/") for _ in range(20)]

    for pid in supervised.workers():
        os.kill(pid, signal.SIGKILL)

    assert {connection.getresponse().status for connection in connections} == {200}


def test_workers_that_die_young_are_replaced_after_growing_delays(start: Start):
    supervised = start("dying")

    delays = [supervised.wait_for("worker ended")["replaced_in_seconds"] for _ in range(5)]

    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8]


def test_an_error_of_ours_at_the_start_ends_everything_with_its_line(start: Start):
    supervised = start("unusable")

    assert supervised.wait_for("worker cannot serve")["error"] == "the disk is made of cheese"
    assert supervised.process.wait(timeout=10) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(start: Start, number):
    supervised = start()
    supervised.wait_until_serving()

    supervised.process.send_signal(number)

    assert supervised.process.wait(timeout=10) == 0


def test_transfers_end_before_their_worker_does(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    response = supervised.begin_transfer()

    supervised.process.send_signal(signal.SIGTERM)

    assert response.readline() == b"ended\n"
    assert supervised.process.wait(timeout=10) == 0


def test_a_signal_to_every_process_drains_as_one_to_the_supervisor_does(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    response = supervised.begin_transfer()

    for pid in [*supervised.workers(), supervised.process.pid]:
        os.kill(pid, signal.SIGTERM)

    assert response.readline() == b"ended\n"
    assert supervised.process.wait(timeout=10) == 0


def test_who_does_not_drain_in_time_is_killed(start: Start):
    supervised = start("stubborn", drain="0s")
    supervised.wait_until_serving()

    assert supervised.end() == 1
    supervised.wait_for("workers killed")


def test_workers_drain_when_the_supervisor_is_killed(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    response = supervised.begin_transfer()
    pidfds = [pidfd_of(pid) for pid in supervised.workers()]

    supervised.process.kill()

    assert response.readline() == b"ended\n"
    assert all(wait_for_end(pidfd) for pidfd in pidfds)


def test_a_good_configuration_reaches_every_worker_and_transfers_go_on(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    response = supervised.begin_transfer()
    workers = supervised.workers()
    supervised.config.write_text(supervised.config.read_text().replace('"5m"', '"7m"'))

    supervised.process.send_signal(signal.SIGHUP)

    supervised.wait_for("configuration reloaded")
    deadline = time.monotonic() + 10
    while {supervised.get("/fresh_for") for _ in range(20)} != {(200, "420.0")}:
        assert time.monotonic() < deadline
    assert supervised.workers() == workers
    supervised.process.send_signal(signal.SIGTERM)
    assert response.readline() == b"ended\n"


def test_a_bad_configuration_is_refused_with_its_line_and_the_old_one_stays(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    supervised.config.write_text(supervised.config.read_text().replace('"5m"', '"soon"'))

    supervised.process.send_signal(signal.SIGHUP)

    assert f'{supervised.config}:11: upstreams."docker.io".fresh_for = "soon"' in str(
        supervised.wait_for("configuration refused")["error"]
    )
    assert supervised.get("/fresh_for") == (200, "300.0")


def test_a_file_that_cannot_be_read_is_refused_and_the_old_configuration_stays(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    supervised.config.write_text(f'{supervised.config.read_text()}ca_file = "/nowhere/ca.pem"')

    supervised.process.send_signal(signal.SIGHUP)

    assert "ca_file" in str(supervised.wait_for("configuration refused")["error"])
    os.kill(supervised.workers()[0], signal.SIGKILL)
    supervised.wait_for("worker started")
    assert {supervised.get("/fresh_for") for _ in range(20)} == {(200, "300.0")}


def test_what_only_a_restart_can_change_is_named(start: Start):
    supervised = start()
    supervised.wait_until_serving()
    supervised.config.write_text(supervised.config.read_text().replace("workers = 2", "workers = 1"))

    supervised.process.send_signal(signal.SIGHUP)

    assert supervised.wait_for("restart needed")["keys"] == "server.workers"


def test_a_port_in_use_is_one_line_and_exit_code_2(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        supervised = start(listen=f"127.0.0.1:{port}")

        _, errors = supervised.process.communicate(timeout=10)

    assert errors == f"cannot listen on 127.0.0.1:{port}: address already in use\n"
    assert supervised.process.returncode == 2
