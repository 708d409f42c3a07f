"""The pipeline's own database: an embedded SQLite file, or PostgreSQL, through one interface.

SQLite gets one writer connection, explicit BEGIN IMMEDIATE (the driver's own transactions would leave SELECT and DDL
outside), WAL and synchronous=FULL. A transaction never awaits user code.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from autocoder.errors import UnreachableError, UsageError, describe

DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
BUSY_MILLISECONDS: Final = 10_000
CONNECT_SECONDS: Final = 10.0
# The wrapper's own `<class 'asyncpg.exceptions...'>: `, and the value in `invalid input for query argument $1: 'x' (...)`.
_EXCEPTION_CLASS = re.compile(r"^<class '[\w.]+'>: ")
_ARGUMENT = re.compile(r"^(invalid input for query argument \$\d+): .*?( \([^()]*\))?$")


def parse_url(url: str) -> sa.URL:
    """The URL with the asynchronous driver that autocoder uses; raises UsageError for another database or a broken URL."""
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise UsageError(
            "the database URL cannot be read; write sqlite:///path or postgresql://user@host/name"
        ) from None
    driver = DRIVERS.get(parsed.drivername.partition("+")[0])
    if driver is None:
        raise UsageError(
            f"database {parsed.drivername!r} is not supported; use sqlite:///path or postgresql://user@host/name"
        )
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise UsageError(
            "a database in memory is lost with the process; leave the database out to keep nothing, or name a file"
        )
    return parsed.set(drivername=driver)


class Database:
    """An open database. `url` is shown without its password."""

    def __init__(self, url: sa.URL, engine: AsyncEngine, reader: AsyncEngine) -> None:
        self.url = url.render_as_string(hide_password=True)
        self.engine = engine
        self.path = url.database if engine.dialect.name == "sqlite" else None
        self._reader = reader

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for short reads, which on SQLite never waits for the writer."""
        async with self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the writer connection; committed at the end of the block, in a shield: COMMIT is never cut."""
        async with self.engine.connect() as connection:
            transaction = await connection.begin()
            try:
                yield connection
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await transaction.rollback()
                raise
            with anyio.CancelScope(shield=True):
                await transaction.commit()


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """Open a database for the length of a block; raises UnreachableError, naming the database, where that fails."""
    parsed = parse_url(url)
    engine, reader = _engines(parsed)
    database = Database(parsed, engine, reader)
    try:
        try:
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except (DBAPIError, sqlite3.Error, OSError) as error:
            raise UnreachableError(
                f"the database {database.url} cannot be opened: {database_said(error)}; "
                f"check the address and the permissions, or give another with --database"
            ) from error
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await engine.dispose()
            if reader is not engine:
                await reader.dispose()


def _engines(url: sa.URL) -> tuple[AsyncEngine, AsyncEngine]:
    """The engine that writes and the one that reads: on SQLite one writer connection and separate readers."""
    if not url.drivername.startswith("sqlite"):
        engine = create_async_engine(url, connect_args={"timeout": CONNECT_SECONDS}, hide_parameters=True)
        return engine, engine
    _make_folder(Path(str(url.database)))
    writer = create_async_engine(url, pool_size=1, max_overflow=0, hide_parameters=True)
    sa.event.listen(writer.sync_engine, "connect", _configure_sqlite)
    sa.event.listen(writer.sync_engine, "begin", _begin_immediate)
    reader = create_async_engine(url, pool_size=2, hide_parameters=True)
    sa.event.listen(reader.sync_engine, "connect", _configure_sqlite_reader)
    return writer, reader


def database_said(error: BaseException) -> str:
    """What a database said, in one line: without statement, parameters and details, for these hold payloads."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    line = next(iter(str(cause).splitlines()), "").strip()
    line = _EXCEPTION_CLASS.sub("", line)
    line = _ARGUMENT.sub(r"\1\2", line)
    return line or type(cause).__name__


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnreachableError(f"the folder of the database {file} cannot be made: {describe(error)}") from error


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_MILLISECONDS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _configure_sqlite_reader(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "query_only=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
