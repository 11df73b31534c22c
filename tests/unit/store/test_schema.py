import sqlite3
from collections.abc import Iterator

import pytest

from proxycache.store import documents, expiry, links, manifests, negatives, repositories, scarcity, tags
from proxycache.store.schema import MIGRATIONS

READS = {
    f"{table.__name__.rpartition('.')[2]}{name}": getattr(table, name)
    for table in (documents, expiry, links, manifests, negatives, repositories, scarcity, tags)
    for name in vars(table)
    if name.startswith(("_FIND", "_HAS", "_LIST", "_EXPIRE", "_MAKE", "_END", "_KEEP", "_FORGET"))
}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statements in MIGRATIONS:
        for statement in statements:
            connection.execute(statement)
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?"))
    return [detail for *_, detail in rows]


@pytest.mark.parametrize("read", READS)
def test_no_table_is_read_from_end_to_end(connection: sqlite3.Connection, read: str) -> None:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]

    scanned = {step.split()[1] for step in plan(connection, READS[read]) if step.startswith("SCAN")}

    assert scanned.isdisjoint(tables)


@pytest.mark.parametrize("read", ["tags_LIST_FIRST", "tags_LIST_AFTER"])
def test_tags_need_no_sorting(connection: sqlite3.Connection, read: str) -> None:
    assert not [step for step in plan(connection, READS[read]) if "TEMP B-TREE" in step]
