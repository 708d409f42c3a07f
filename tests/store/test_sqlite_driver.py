"""The driver of SQLite: what a cursor gives, whenever it is fetched, and transactions that are one trip to the thread."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from threading import get_ident

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError

from autocoder.database import Database, open_database
from autocoder.sqlite_driver import AT_ONCE, SqliteConnection, connect
from tests.store.fresh import fresh_sqlite

pytestmark = pytest.mark.anyio
MANY = 2 * AT_ONCE + 5
COUNT = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY - 1}) SELECT i FROM n"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(fresh_sqlite(tmp_path)) as opened:
        yield opened


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[SqliteConnection]:
    """One without a pool, as the engines make theirs."""
    async with connect(str(tmp_path / "plain.db"), isolation_level=None) as opened:
        await opened.call(lambda each: each.execute("CREATE TABLE numbers (number INTEGER CHECK (number < 100))"))
        yield opened


def insert(connection: sa.Connection, *numbers: int) -> None:
    for number in numbers:
        connection.exec_driver_sql("INSERT INTO numbers VALUES (?)", (number,))


async def numbers(connection: SqliteConnection) -> list[int]:
    """What is committed, and what the connection has written since."""
    cursor = connection.cursor()
    await cursor.execute("SELECT number FROM numbers ORDER BY number")
    return [number for (number,) in await cursor.fetchall()]


# -- cursors ----------------------------------------------------------------------------------------------------------


async def test_all_rows_come_however_many_there_are(connection: SqliteConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute(COUNT)
    assert [number for (number,) in await cursor.fetchall()] == list(range(MANY))
    assert list(await cursor.fetchall()) == []


async def test_rows_are_fetched_piece_by_piece_in_order(connection: SqliteConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute(COUNT)
    assert await cursor.fetchone() == (0,)
    found = [0]
    while piece := await cursor.fetchmany(AT_ONCE - 1):
        found += [number for (number,) in piece]
    assert found == list(range(MANY))
    assert await cursor.fetchone() is None


async def test_a_piece_and_then_the_rest(connection: SqliteConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute(COUNT)
    first = await cursor.fetchmany(3)
    assert [number for (number,) in [*first, *await cursor.fetchall()]] == list(range(MANY))


async def test_rows_are_iterated(connection: SqliteConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute(COUNT)
    assert [number async for (number,) in cursor] == list(range(MANY))


async def test_rows_are_streamed_through_sqlalchemy(database: Database) -> None:
    async with database.reading() as reading:
        result = await reading.stream(sa.text(COUNT))
        assert [number async for (number,) in result] == list(range(MANY))


async def test_what_is_left_of_a_stream_does_no_harm(database: Database) -> None:
    async with database.reading() as reading:
        result = await reading.stream(sa.text(COUNT))
        assert (await result.fetchone()) == (0,)
        await result.close()
        assert (await reading.execute(sa.text("SELECT 7"))).scalar_one() == 7


async def test_a_closed_cursor_gives_nothing_more_and_holds_nothing(connection: SqliteConnection) -> None:
    await connection.at_once(lambda each: insert(each, 1))
    cursor = connection.cursor()
    await cursor.execute(COUNT)
    await cursor.close()
    assert (await cursor.fetchone(), await cursor.fetchmany(5), await cursor.fetchall()) == (None, [], [])
    await connection.call(lambda each: each.execute("DROP TABLE numbers"))  # which an open cursor would not let
    await cursor.close()


async def test_what_a_statement_changed_is_counted(connection: SqliteConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO numbers VALUES (1), (2)")
    assert (cursor.rowcount, cursor.lastrowid, cursor.description) == (2, 2, None)
    await cursor.executemany("INSERT INTO numbers VALUES (?)", [(3,), (4,), (5,)])
    assert cursor.rowcount == 3
    assert await numbers(connection) == [1, 2, 3, 4, 5]


async def test_a_statement_that_fails_leaves_the_cursor_usable(connection: SqliteConnection) -> None:
    cursor = connection.cursor()
    with pytest.raises(sqlite3.OperationalError):
        await cursor.execute("SELECT missing")
    await cursor.execute("SELECT 1")
    assert await cursor.fetchone() == (1,)


# -- transactions in one trip -------------------------------------------------------------------------------------------


async def test_a_transaction_runs_in_the_thread_and_is_committed(connection: SqliteConnection, tmp_path: Path) -> None:
    def work(inside: sa.Connection) -> int:
        insert(inside, 1, 2)
        return get_ident()

    assert await connection.at_once(work) != get_ident()
    with sqlite3.connect(tmp_path / "plain.db") as other:
        assert other.execute("SELECT count(*) FROM numbers").fetchone() == (2,)
    assert not connection.in_transaction


async def test_what_the_work_raises_undoes_it(connection: SqliteConnection) -> None:
    def work(inside: sa.Connection) -> None:
        insert(inside, 1)
        insert(inside, 100)

    with pytest.raises(IntegrityError):
        await connection.at_once(work)
    assert not connection.in_transaction
    await connection.at_once(lambda inside: insert(inside, 2))
    assert await numbers(connection) == [2]


async def test_a_savepoint_inside_costs_the_rest_nothing(connection: SqliteConnection) -> None:
    def work(inside: sa.Connection) -> None:
        insert(inside, 1)
        with pytest.raises(IntegrityError), inside.begin_nested():
            insert(inside, 2, 100)
        insert(inside, 3)

    await connection.at_once(work)
    assert await numbers(connection) == [1, 3]


async def test_it_cannot_begin_while_another_writes(connection: SqliteConnection, tmp_path: Path) -> None:
    await connection.call(lambda each: each.execute("PRAGMA busy_timeout=0").close())
    other = sqlite3.connect(tmp_path / "plain.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    called: list[int] = []
    for _ in range(2):
        with pytest.raises(OperationalError, match="locked"):
            await connection.at_once(lambda _: called.append(1))
    assert called == []
    other.execute("ROLLBACK")
    other.close()
    await connection.at_once(lambda inside: insert(inside, 1))
    assert await numbers(connection) == [1]


async def test_a_commit_that_is_refused_undoes_all(database: Database) -> None:
    """SQLAlchemy leaves such a transaction open: it ends with the connection, and another one takes its place."""

    def prepare(inside: sa.Connection) -> None:
        inside.exec_driver_sql("CREATE TABLE numbers (number INTEGER)")
        inside.exec_driver_sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        inside.exec_driver_sql("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")

    def work(inside: sa.Connection) -> None:
        insert(inside, 1)
        inside.exec_driver_sql("INSERT INTO child VALUES (7)")  # whose parent is asked for at the end

    await database.at_once(prepare)
    for _ in range(2):
        with pytest.raises(IntegrityError):
            await database.at_once(work)
        await database.at_once(lambda inside: insert(inside, 2))
    async with database.transaction() as writing:
        assert (await writing.execute(sa.text("SELECT number FROM numbers"))).scalars().all() == [2, 2]


async def test_a_transaction_that_sqlite_ended_by_itself_is_over(connection: SqliteConnection) -> None:
    """As it does where the disk is full: what rolls back then finds nothing to roll back."""

    def work(inside: sa.Connection) -> None:
        insert(inside, 1)
        inside.exec_driver_sql("INSERT OR ROLLBACK INTO numbers VALUES (100)")

    with pytest.raises(IntegrityError):
        await connection.at_once(work)
    await connection.at_once(lambda inside: insert(inside, 2))
    assert await numbers(connection) == [2]


async def test_both_ways_to_write_share_the_connection(database: Database) -> None:
    await database.at_once(lambda inside: inside.exec_driver_sql("CREATE TABLE numbers (number INTEGER)"))
    for number in range(3):
        await database.at_once(lambda inside, number=number: insert(inside, number))
        async with database.transaction() as writing:
            await writing.execute(sa.text("INSERT INTO numbers VALUES (:number)"), {"number": 10 + number})
    async with database.reading() as reading:
        assert list((await reading.execute(sa.text("SELECT number FROM numbers"))).scalars()) == [0, 10, 1, 11, 2, 12]


async def test_a_connection_that_was_given_up_is_replaced(database: Database) -> None:
    await database.at_once(lambda inside: inside.exec_driver_sql("CREATE TABLE numbers (number INTEGER)"))
    with pytest.raises(PendingRollbackError):
        async with database.transaction() as writing:
            raw = (await writing.get_raw_connection()).driver_connection
            await writing.execute(sa.text("INSERT INTO numbers VALUES (1)"))
            await writing.invalidate()
    await database.at_once(lambda inside: insert(inside, 2))
    async with database.transaction() as writing:
        assert (await writing.get_raw_connection()).driver_connection is not raw
        assert (await writing.execute(sa.text("SELECT number FROM numbers"))).scalars().all() == [2]
