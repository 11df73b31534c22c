"""The rows: one SQLite database for all processes of a node, in WAL mode.

- Reads never wait for writers; writes wait for each other for BUSY_SECONDS at most, then fail with StoreBusy.
- Every write begins with BEGIN IMMEDIATE: a deferred transaction that reads and then writes fails at once when another
  process wrote in between, however long it was ready to wait.
- `synchronous=NORMAL`: a power cut may take the last commits back, but never tears or reorders them. That fits rows
  about cached content: a row that is lost costs a question upstream, and files go before rows. What is promised to a
  pusher is committed with FULL (`is_durable`), at 2.5 times the price.
- Statements (in the files of the tables) keep to what SQLite and PostgreSQL share.
- Every failure is a StoreError, so that a pull of what lies on the disk can go on without rows (invariant 12).

Four connections: one that writes and one that reads, each with its thread; one for `commit_durably`, whose transactions
take one step to a thread; one for `generation` and `revocations`, which costs 5 µs on the event loop where a thread
would cost 50. None of them survives a fork: open after it.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from proxycache.store.errors import FormatTooNew, StoreBusy, StoreDamaged, StoreError, StoreUnusable
from proxycache.store.schema import MIGRATIONS
from proxycache.tasks import run_to_end

BUSY_SECONDS = 5.0
GENERATION_BUSY_SECONDS = 0.05  # it can wait for a recovery after a crash only, and the event loop waits with it
SCHEMA_VERSION = len(MIGRATIONS)
_LOG_BYTES = 4 * 1024 * 1024  # the write-ahead log gives back what a long transaction made it take
_ROWS_AT_ONCE = 500  # of one transaction: others wait for it
UNLIMITED = 2**53  # a LIMIT that SQLite and PostgreSQL both take for none


T = TypeVar("T")


def batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield `rows`, no more at a time than one transaction is to write."""
    return (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))


class Database:
    """An open database; `open` makes one, and whoever opened it closes it."""

    def __init__(
        self,
        path: Path,
        *,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        committer: sqlite3.Connection,
        watcher: sqlite3.Connection,
    ) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._committer = committer
        self._watcher = watcher
        self._write_lock = asyncio.Lock()
        self._is_durable = False
        self._revocations = 0
        self._counted_at: int | None = None

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the database at `path`, made or migrated first where needed; any number of processes may do so at once.

        Raises FormatTooNew, StoreDamaged, StoreUnusable, or StoreBusy if a migration has to wait for too long.
        """
        await asyncio.to_thread(_migrate, path)
        with _failures_named(path):
            async with AsyncExitStack() as opened:
                writer = await aiosqlite.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
                opened.push_async_callback(writer.close)
                await writer.execute("PRAGMA synchronous = NORMAL")
                await writer.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
                reader = await aiosqlite.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
                opened.push_async_callback(reader.close)
                await reader.execute("PRAGMA query_only = ON")
                committer = await asyncio.to_thread(_connect_committer, path)
                opened.callback(committer.close)
                watcher = await asyncio.to_thread(_connect_watcher, path)
                opened.pop_all()
        return cls(path, writer=writer, reader=reader, committer=committer, watcher=watcher)

    async def close(self) -> None:
        """Close it, after the transaction that runs."""
        async with self._write_lock:
            self._watcher.close()
            await run_to_end(self._committer.close)
            await self._reader.close()
            await self._writer.close()

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that `sql` selects, of the newest commit of any process."""
        with _failures_named(self._path):
            return [tuple(row) for row in await self._reader.execute_fetchall(sql, parameters)]

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[aiosqlite.Connection]:
        """Yield the connection that reads, for several statements; each sees the newest commit."""
        with _failures_named(self._path):
            yield self._reader

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[aiosqlite.Connection]:
        """Yield a connection for questions that need temporary tables, and see one state of everything else.

        They wait for no other process that writes, and none for them. What is in temporary tables stays there.
        """
        async with self.turn_to_write():
            with _failures_named(self._path):
                await self._writer.execute("BEGIN DEFERRED")
                try:
                    yield self._writer
                    await self._writer.commit()
                except BaseException:
                    await self._writer.rollback()
                    raise

    @asynccontextmanager
    async def transaction(self, *, is_durable: bool = False) -> AsyncIterator[aiosqlite.Connection]:
        """Hold the write lock and yield the connection that writes; read from it by `execute_fetchall` only.

        Leaving commits: then all processes see the rows, and if `is_durable`, not even a power cut takes them back. An
        error or a cancellation inside rolls back.
        """
        async with self.turn_to_write():
            with _failures_named(self._path):
                try:
                    await self._set_durable(is_durable=is_durable)
                    await self._writer.execute("BEGIN IMMEDIATE")
                    yield self._writer
                    await self._writer.commit()
                except BaseException:
                    # The connection's thread works in order: this comes after a statement whose caller was cancelled.
                    await self._writer.rollback()
                    raise

    async def commit_durably(self, write: Callable[[sqlite3.Connection], None]) -> None:
        """Run *blocking* statements in a durable transaction, for a caller whose turn it is to write.

        Who is cancelled hears of it when the transaction has ended, and cannot tell how.
        """
        with _failures_named(self._path):
            await run_to_end(self._commit, write)

    def _commit(self, write: Callable[[sqlite3.Connection], None]) -> None:
        self._committer.execute("BEGIN IMMEDIATE")
        try:
            write(self._committer)
            self._committer.commit()
        except BaseException:
            self._committer.rollback()
            raise

    async def _set_durable(self, *, is_durable: bool) -> None:
        """Choose what a commit waits for; the setting cannot change inside a transaction."""
        if is_durable != self._is_durable:
            await self._writer.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._is_durable = is_durable

    def generation(self) -> int:
        """Return a number that is another one after any commit of any process (invariant 11); runs on the event loop.

        Ask for it before reading what is then remembered: a commit in between makes the memory old, never wrong.
        """
        try:
            row: tuple[int] = self._watcher.execute("PRAGMA data_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise _store_error(self._path, error) from error
        return row[0]

    def revocations(self) -> int:
        """Return a number that grows when something that was answered may no longer be (invariant 11): a tag has moved,
        content was taken away. What only comes to be known changes no answer that was given. On the event loop, as
        `generation`, and to be asked for before reading likewise.
        """
        generation = self.generation()
        if generation != self._counted_at:
            try:
                row: tuple[int] = self._watcher.execute("SELECT count FROM revocations").fetchone()
            except sqlite3.DatabaseError as error:
                raise _store_error(self._path, error) from error
            self._revocations, self._counted_at = row[0], generation
        return self._revocations

    @asynccontextmanager
    async def turn_to_write(self) -> AsyncIterator[None]:
        """Be the only one of this process who writes; raises StoreBusy if that takes too long."""
        try:
            async with asyncio.timeout(BUSY_SECONDS):
                await self._write_lock.acquire()
        except TimeoutError as error:
            raise StoreBusy(self._path) from error
        try:
            yield
        finally:
            self._write_lock.release()


def _connect_committer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    return connection


def _connect_watcher(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=GENERATION_BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _migrate(path: Path) -> None:
    """Bring the database to SCHEMA_VERSION.

    The lock on the directory lets one process at a time do it: SQLite does not wait for another one that changes the
    journal's mode, it fails at once.
    """
    with _failures_named(path), _locked(path.parent):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            found = _schema_version(connection)
            if found > SCHEMA_VERSION:
                raise FormatTooNew(path, found=found, known=SCHEMA_VERSION)
            if found < SCHEMA_VERSION:
                _run_migrations(connection)
        finally:
            connection.close()


def _run_migrations(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statements in MIGRATIONS[_schema_version(connection) :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _schema_version(connection: sqlite3.Connection) -> int:
    row: tuple[int] = connection.execute("PRAGMA user_version").fetchone()
    return row[0]


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StoreUnusable(directory, error.strerror or str(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _store_error(path, error) from error


def _store_error(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:  # the rest of an extended code is detail
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusy(path)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreDamaged(path, str(error))
        case _:
            return StoreUnusable(path, str(error))
