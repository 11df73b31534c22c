"""One supervisor, which owns the sockets and watches, and its workers, which serve.

    start    bind → load the worker's code → fork the workers → say where we listen once all of them serve
    death    the worker is replaced at once; one that dies young again and again, after a growing delay
    SIGTERM, SIGINT   every worker drains; who has not ended `drain` and a little later is killed
    SIGHUP   the configuration is loaded anew: a bad one is refused and logged, a good one is announced to the workers
    the supervisor dies   each worker sees the end of its lifeline and drains

Signals wait (blocked) from fork until the worker has said what to do on them, so none is lost. The supervisor has no
event loop and no threads: signal numbers and the workers' reports arrive through one pipe.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from proxycache.config.errors import ConfigError
from proxycache.config.load import LoadedSettings
from proxycache.observe.metrics_directory import forget_worker, metrics_directory
from proxycache.oci.errors import ProxycacheError
from proxycache.server.assignment import READY, SIGNALS, Assignment, LoadAgain, Worker
from proxycache.server.cpus import usable_cpus
from proxycache.server.heap import keep_buffers_on_heap
from proxycache.server.listeners import listener_urls, open_listeners
from proxycache.server.open_files import raise_open_files_limit

logger = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_CANNOT_SERVE = 2
GRACE_SECONDS = 1.0
YOUNG_SECONDS = 1.0
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 10.0


def serve(loaded: LoadedSettings, *, load_again: LoadAgain, load_worker: Callable[[], Worker]) -> int:
    """Serve until a signal ends it; return the exit code: 0 after a clean drain.

    `load_worker` imports the worker's code, once, before the forks. Raises CannotListen.
    """
    raise_open_files_limit()
    keep_buffers_on_heap()
    sockets = open_listeners(loaded.settings.server.listen)
    with metrics_directory(otherwise_in=loaded.settings.storage.directory):
        supervisor = Supervisor(loaded, load_again=load_again, worker=load_worker(), sockets=sockets)
        gc.freeze()  # what is loaded stays in memory that all processes share
        return supervisor.run()


class Supervisor:
    """The parent of the workers; `run` may be called once."""

    def __init__(
        self, loaded: LoadedSettings, *, load_again: LoadAgain, worker: Worker, sockets: Sequence[socket.socket]
    ) -> None:
        self._loaded = loaded
        self._load_again = load_again
        self._worker = worker
        self._sockets = sockets
        self._inbox, self._inbox_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lifeline, self._lifeline_end = os.pipe2(os.O_CLOEXEC)
        self._started_at: dict[int, float] = {}
        self._starts_due: list[float] = []
        self._young_deaths = 0
        self._ready_workers = 0
        self._drain_ends_at: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Keep the workers running until a signal ends it; return the exit code."""
        count = self._loaded.settings.server.workers or usable_cpus()
        self._starts_due = [time.monotonic()] * count
        with self._signals_to_inbox():
            while self._started_at or self._starts_due:
                self._start_due_workers()
                for message in self._wait_for_messages():
                    self._handle(message, count)
                self._bury_workers()
                self._kill_overdue_workers()
        return self._exit_code

    @contextlib.contextmanager
    def _signals_to_inbox(self) -> Iterator[None]:
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._inbox_end, warn_on_full_buffer=False)
        yield
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def _wait_for_messages(self) -> bytes:
        moments = [*self._starts_due, *([] if self._drain_ends_at is None else [self._drain_ends_at])]
        timeout = max(0.0, min(moments) - time.monotonic()) if moments else None
        readable, _, _ = select.select([self._inbox], [], [], timeout)
        return os.read(self._inbox, 4096) if readable else b""

    def _handle(self, message: int, count: int) -> None:
        if message == READY:
            self._ready_workers += 1
            if self._ready_workers == count:
                self._announce(count)
        elif message in (signal.SIGTERM, signal.SIGINT):
            self._drain()
        elif message == signal.SIGHUP and self._drain_ends_at is None:
            self._reload()

    def _announce(self, count: int) -> None:
        settings = self._loaded.settings
        logger.info(
            "listening on %s",
            ", ".join(listener_urls(self._sockets, scheme="https" if self._loaded.certificate else "http")),
            extra={
                "mirror_of": settings.default_upstream,
                "upstreams": ",".join(settings.upstreams),
                "directory": settings.storage.directory,
                "workers": count,
            },
        )
        self._tell_doubt()

    def _tell_doubt(self) -> None:
        certificate = self._loaded.certificate
        if certificate is not None and certificate.doubt:
            file = self._loaded.settings.server.tls_certificate
            logger.warning("clients will refuse the certificate", extra={"file": file, "why": certificate.doubt})

    def _drain(self) -> None:
        if self._drain_ends_at is None:
            self._starts_due = []
            self._drain_ends_at = time.monotonic() + self._loaded.settings.server.drain + GRACE_SECONDS
            logger.info("draining", extra={"workers": len(self._started_at)})
            self._signal_workers(signal.SIGTERM)

    def _reload(self) -> None:
        try:
            fresh = self._load_again()
        except ConfigError as error:
            logger.error("configuration refused", extra={"error": str(error)})
            return
        waiting = self._loaded.waiting_for_restart(fresh)
        if waiting:
            logger.warning("restart needed", extra={"keys": ", ".join(waiting)})
        self._loaded = self._loaded.reloaded(fresh)
        logger.info("configuration reloaded", extra={"file": fresh.file})
        self._tell_doubt()
        self._signal_workers(signal.SIGHUP)

    def _signal_workers(self, number: signal.Signals) -> None:
        for pid in self._started_at:
            os.kill(pid, number)

    def _start_due_workers(self) -> None:
        now = time.monotonic()
        due = [moment for moment in self._starts_due if moment <= now]
        self._starts_due = [moment for moment in self._starts_due if moment > now]
        for _ in due:
            self._start_worker()

    def _start_worker(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker()
            self._started_at[pid] = time.monotonic()
            logger.debug("worker started", extra={"worker": pid})
        except OSError as error:
            logger.error("cannot fork", extra={"error": error.strerror})
            self._starts_due.append(time.monotonic() + LONGEST_DELAY_SECONDS)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _bury_workers(self) -> None:
        for pid in list(self._started_at):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                forget_worker(pid)
                lived_seconds = time.monotonic() - self._started_at.pop(pid)
                self._replace_worker(pid, os.waitstatus_to_exitcode(status), lived_seconds)

    def _replace_worker(self, pid: int, code: int, lived_seconds: float) -> None:
        if self._drain_ends_at is not None:
            self._exit_code = self._exit_code or (EXIT_FAILED if code else 0)
            return
        if code == EXIT_CANNOT_SERVE and not self._ready_workers:  # and no other worker could; it said why
            self._exit_code = EXIT_CANNOT_SERVE
            self._drain()
            return
        self._young_deaths = self._young_deaths + 1 if lived_seconds < YOUNG_SECONDS else 0
        delay = 0.0
        if self._young_deaths > 1:
            delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(self._young_deaths - 2, 10))
        self._starts_due.append(time.monotonic() + delay)
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        logger.error("worker ended", extra={"worker": pid, "cause": cause, "replaced_in_seconds": delay})

    def _kill_overdue_workers(self) -> None:
        if self._drain_ends_at is not None and time.monotonic() >= self._drain_ends_at:
            logger.error("workers killed", extra={"workers": len(self._started_at)})
            self._signal_workers(signal.SIGKILL)
            self._drain_ends_at = time.monotonic() + GRACE_SECONDS
            self._exit_code = self._exit_code or EXIT_FAILED

    def _become_worker(self) -> NoReturn:
        """Run the worker in this fresh child and end the process, whatever happens."""
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.close(self._inbox)
            os.close(self._lifeline_end)
            assignment = Assignment(
                loaded=self._loaded,
                sockets=self._sockets,
                load_again=functools.partial(_load_reloadable, self._loaded, self._load_again),
                lifeline=self._lifeline,
                inbox=self._inbox_end,
            )
            asyncio.run(_work(self._worker, assignment))
        finally:  # never back into the supervisor's frames
            code = _exit_code_of(sys.exception())
            logging.shutdown()
            os._exit(code)


async def _work(worker: Worker, assignment: Assignment) -> None:
    try:
        await worker(assignment)
    finally:  # a signal repeated while the loop is torn down must not kill what ended well
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _load_reloadable(loaded: LoadedSettings, load_again: LoadAgain) -> LoadedSettings:
    return loaded.reloaded(load_again())


def _exit_code_of(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, ProxycacheError):
        logger.error("worker cannot serve", extra={"error": str(error)})
        return EXIT_CANNOT_SERVE
    logger.critical("worker failed", exc_info=error)
    return EXIT_FAILED
