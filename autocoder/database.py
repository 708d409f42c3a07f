"""The pipeline's own database: an embedded SQLite file, or PostgreSQL, through one interface.

SQLite gets one writer connection, explicit BEGIN IMMEDIATE (the driver's own transactions would leave SELECT and DDL
outside), WAL and synchronous=FULL. A transaction never awaits user code.
"""

from __future__ import annotations

import random
import re
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from autocoder.database_cures import cure_for
from autocoder.database_file import check_file, keep_journal
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError, UsageError, describe

DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
# The wrapper's own `<class 'asyncpg.exceptions...'>: `, and the value in `invalid input for query argument $1: 'x' (...)`.
_EXCEPTION_CLASS = re.compile(r"^<class '[\w.]+'>: ")
_random = random.Random()  # noqa: S311  jitter is no secret
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

    def __init__(self, options: DatabaseOptions, url: sa.URL, engine: AsyncEngine, reader: AsyncEngine) -> None:
        self.options = options
        self.url = options.shown
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
async def open_database(database: str | DatabaseOptions) -> AsyncIterator[Database]:
    """Open a database (a URL, or options in full) for the length of a block.

    Raises UnreachableError, naming the database and the cure, when it cannot be opened in `retry_attempts` tries; a refusal
    that waiting does not mend (a wrong password, no such database) is final at once.
    """
    options = database if isinstance(database, DatabaseOptions) else DatabaseOptions(database)
    url = parse_url(options.url)
    if options.backend == "sqlite":
        engine, reader = _sqlite_engines(url, options)
    else:
        engine = reader = _postgresql_engine(url, options)
    opened = Database(options, url, engine, reader)
    try:
        await _reach(opened)
        yield opened
    finally:
        with anyio.CancelScope(shield=True):
            await engine.dispose()
            if reader is not engine:
                await reader.dispose()


async def _reach(database: Database) -> None:
    options, attempt = database.options, 1
    while True:
        try:
            async with database.engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except Exception as error:
            if not (isinstance(error, DBAPIError | sqlite3.Error | OSError) or hasattr(error, "sqlstate")):
                raise  # not the database's word: the driver of PostgreSQL, imported only with it, says `sqlstate`
            if database.is_sqlite or attempt >= options.retry_attempts or _is_final(error):
                raise UnreachableError(
                    f"the database {database.url} cannot be opened: {database_said(error)}; {cure_for(error)}"
                ) from error
        else:
            return
        pause = min(options.retry_cap, options.retry_backoff * 2 ** (attempt - 1))
        await anyio.sleep(_random.uniform(pause / 2, pause))
        attempt += 1


def _is_final(error: BaseException) -> bool:
    """Whether the server answered with a refusal: authorization (class 28), no such database (3D), bad configuration."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(getattr(cause, "sqlstate", "") or "")[:2] in ("28", "3D", "42")


def _sqlite_engines(url: sa.URL, options: DatabaseOptions) -> tuple[AsyncEngine, AsyncEngine]:
    """One engine with the one connection that writes, and one with those that read."""
    check_file(Path(str(url.database)))
    busy = f"busy_timeout={round(options.busy_timeout * 1000)}"
    writer = create_async_engine(
        url, pool_size=1, max_overflow=0, pool_timeout=options.pool_timeout, hide_parameters=True
    )
    writing = (busy, "synchronous=FULL", "foreign_keys=ON")
    sa.event.listen(writer.sync_engine, "connect", partial(_configure_sqlite, pragmas=writing))
    sa.event.listen(writer.sync_engine, "connect", keep_journal)
    sa.event.listen(writer.sync_engine, "begin", _begin_immediate)
    reader = create_async_engine(
        url, pool_size=options.pool_size, max_overflow=0, pool_timeout=options.pool_timeout, hide_parameters=True
    )
    sa.event.listen(reader.sync_engine, "connect", partial(_configure_sqlite, pragmas=(busy, "query_only=ON")))
    return writer, reader


def _postgresql_engine(url: sa.URL, options: DatabaseOptions) -> AsyncEngine:
    settings = {
        "statement_timeout": options.statement_timeout,
        "lock_timeout": options.lock_timeout,
        "idle_in_transaction_session_timeout": options.idle_in_transaction_timeout,
    }
    arguments: dict[str, Any] = {
        "timeout": options.connect_timeout,
        "server_settings": {name: str(round(seconds * 1000)) for name, seconds in settings.items()},
    }
    if options.ssl_root_cert is not None:
        arguments["ssl"] = _ssl_context(options)
    elif options.ssl_mode is not None:
        arguments["ssl"] = options.ssl_mode
    return create_async_engine(
        url,
        pool_size=options.pool_size,
        max_overflow=0,
        pool_timeout=options.pool_timeout,
        pool_pre_ping=True,
        # The driver would parse JSON columns; the store's are kept and read as the text they are.
        json_deserializer=str,
        connect_args=arguments,
        hide_parameters=True,
    )


def _ssl_context(options: DatabaseOptions) -> ssl.SSLContext:
    """TLS judged by the given certificates: the chain always, the host's name with verify-full."""
    try:
        context = ssl.create_default_context(cafile=options.ssl_root_cert)
    except (OSError, ssl.SSLError) as error:
        raise UnreachableError(
            f"the certificates in {options.ssl_root_cert} cannot be read: {describe(error)}"
        ) from error
    context.check_hostname = options.ssl_mode == "verify-full"
    return context


def database_said(error: BaseException) -> str:
    """What a database said, in one line: without statement, parameters and details, for these hold payloads."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    line = next(iter(str(cause).splitlines()), "").strip()
    line = _EXCEPTION_CLASS.sub("", line)
    line = _ARGUMENT.sub(r"\1\2", line)
    return line or type(cause).__name__


def _configure_sqlite(connection: Any, _record: Any, *, pragmas: Iterable[str]) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
