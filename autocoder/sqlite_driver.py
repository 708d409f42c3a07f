"""The driver of SQLite with fewer trips: a statement, or a whole transaction, is one trip to the thread of its connection.

aiosqlite hands every call to that thread: to open a cursor, to execute, to fetch, to close. Each such trip wakes both threads
and costs as much as writing fifty rows. Here a cursor opens, executes, fetches and closes in one. Tried: SQLAlchemy's own
adapter in front, which stays, for it asks for cursors only by way of the connection that it is given.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import aiosqlite
import sqlalchemy as sa

AT_ONCE: Final = 10_000
"""So many rows are fetched with their statement; of more, the others when they are asked for."""
BEGIN: Final = "BEGIN IMMEDIATE"
T = TypeVar("T")


class SqliteConnection(aiosqlite.Connection):
    """A connection with its thread, whose cursors make one trip a statement."""

    _inside: sa.Connection | None = None

    def cursor(self) -> Any:
        """A cursor that is open at once."""
        return SqliteCursor(self)

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection, in its thread.

        Give it no values but those it closes over: the driver's log, where somebody turns it on, shows arguments.
        """
        execute: Any = self._execute
        result: T = await execute(work, self._conn)
        return result

    async def at_once(self, work: Callable[[sa.Connection], T]) -> T:
        """A transaction in one trip: call a function in the thread, and commit when it returns.

        It must not touch what the event loop works on meanwhile.
        """
        return await self.call(lambda connection: self._at_once(connection, work))

    def _at_once(self, connection: sqlite3.Connection, work: Callable[[sa.Connection], T]) -> T:
        """SQLAlchemy joins the transaction where it is asked for something, and else hears nothing of it."""
        if self._inside is None:
            self._inside = _inside(connection)
        inside = self._inside
        if not is_inside(inside):
            with inside.begin():
                return work(inside)
        execute(inside, BEGIN)
        try:
            result = work(inside)
            if inside.in_transaction():
                inside.commit()
            else:
                execute(inside, "COMMIT")
        except BaseException:
            with suppress(sqlite3.Error, sa.exc.DBAPIError):  # what it has not ended then ends with the connection
                inside.rollback()
                connection.rollback()
            raise
        return result


class SqliteCursor:
    """A cursor as SQLAlchemy's adapter uses one."""

    arraysize = 1

    def __init__(self, connection: SqliteConnection) -> None:
        self._connection = connection
        self._open: sqlite3.Cursor | None = None
        self._rows: deque[Any] = deque()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> SqliteCursor:
        return self

    async def execute(self, operation: str, parameters: Sequence[Any] = ()) -> None:
        """Execute a statement and fetch what it gives."""
        await self._connection.call(lambda connection: self._execute(connection, operation, parameters))

    async def executemany(self, operation: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Execute a statement with each row of values."""
        await self._connection.call(lambda connection: self._execute_many(connection, operation, parameters))

    async def fetchall(self) -> Sequence[Any]:
        """All rows that were not fetched before."""
        rows = list(self._rows)
        self._rows.clear()
        if self._open is not None:
            rows += await self._connection.call(lambda _: self._fetch(None))
        return rows

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """So many of the rows that were not fetched before."""
        number = self.arraysize if size is None else size
        if len(self._rows) < number and self._open is not None:
            self._rows += await self._connection.call(lambda _: self._fetch(AT_ONCE))
        return [self._rows.popleft() for _ in range(min(number, len(self._rows)))]

    async def fetchone(self) -> Any:
        """The next row, or None."""
        return next(iter(await self.fetchmany(1)), None)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (row := await self.fetchone()) is not None:
            yield row

    async def close(self) -> None:
        """Let go of what was not fetched."""
        self._rows.clear()
        if self._open is not None:
            await self._connection.call(lambda _: self._close())

    def _execute(self, connection: sqlite3.Connection, operation: str, parameters: Sequence[Any]) -> None:
        self._open = connection.execute(operation, parameters)
        self.description = self._open.description
        if self.description is not None:
            self._rows = deque(self._fetch(AT_ONCE))
        else:
            self._close()

    def _execute_many(
        self, connection: sqlite3.Connection, operation: str, parameters: Sequence[Sequence[Any]]
    ) -> None:
        self._open = connection.executemany(operation, parameters)
        self._close()

    def _fetch(self, number: int | None) -> list[Any]:
        if self._open is None:
            return []
        rows = self._open.fetchall() if number is None else self._open.fetchmany(number)
        if number is None or len(rows) < number:
            self._close()
        return rows

    def _close(self) -> None:
        if self._open is not None:
            self.rowcount, self.lastrowid = self._open.rowcount, self._open.lastrowid
            self._open.close()
            self._open = None


def _inside(connection: sqlite3.Connection) -> sa.Connection:
    """SQLAlchemy's view of a connection from within its thread. Who opened the connection closes it."""
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: connection,
        poolclass=sa.StaticPool,
        pool_reset_on_return=None,
        hide_parameters=True,
    )
    sa.event.listen(engine, "begin", lambda each: None if connection.in_transaction else begin_immediate(each))
    return engine.connect()


def is_inside(connection: sa.Connection) -> bool:
    """Whether it is such a view, and nobody wants to hear of its statements by SQLAlchemy's events (as tracing does)."""
    return connection.dialect.driver == "pysqlite" and not connection.engine.dispatch.before_cursor_execute


def execute(connection: sa.Connection, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Execute a statement past SQLAlchemy, on a connection that `is_inside`; raises what that raises.

    A small epoch is half a dozen statements, each of which takes SQLAlchemy as long as SQLite.
    """
    driver: Any = connection.connection.driver_connection
    try:
        cursor: sqlite3.Cursor = driver.execute(sql, values)
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(
            sql, tuple(values), error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
        ) from error
    return cursor


def begin_immediate(connection: sa.Connection) -> None:
    """Begin a transaction as a writer: the driver would let SELECT and DDL stay outside."""
    connection.exec_driver_sql(BEGIN)


def connect(file: str, **options: Any) -> SqliteConnection:
    """A connection to be awaited; `options` are those of `sqlite3.connect`."""
    connection = SqliteConnection(lambda: sqlite3.connect(file, **options), iter_chunk_size=AT_ONCE)
    connection._thread.daemon = True  # as SQLAlchemy has it: nothing waits for it when the process ends
    return connection
