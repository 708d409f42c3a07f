"""How connections to the two databases are made, and with what settings.

SQLite gets one writer connection, explicit BEGIN IMMEDIATE (the driver's own transactions would leave SELECT and DDL
outside), WAL and synchronous=FULL.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from autocoder import sqlite_driver
from autocoder.database_file import check_file, keep_journal
from autocoder.database_options import DatabaseOptions
from autocoder.database_sessions import liveness_settings
from autocoder.errors import UnreachableError, UsageError, describe

DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
# What a transaction has changed stays in memory until its commit, up to 31 MiB; by default all above 2 MiB goes to the log at
# once, is read back where it is changed again, and goes there a second time: half as much again for payloads of 100 KB.
# `cache_size` would do the same, but keep as much for pages that nobody has changed. No multiple of 256: SQLite takes that for
# "never", as it looks at the last byte alone.
SPILL_PAGES: Final = 8000
# The log goes into the file when it has 16 MiB, not 4: a page that a message was written to, and that its completion changes
# soon after, goes there once.
LOG_PAGES: Final = 4000


def parse_url(url: str) -> sa.URL:
    """The URL with the asynchronous driver that autocoder uses; raises UsageError for another database or a broken URL."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number is the latter
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


def sqlite_engines(url: sa.URL, options: DatabaseOptions) -> tuple[AsyncEngine, AsyncEngine]:
    """One engine with the one connection that writes, and one with those that read."""
    check_file(Path(str(url.database)))
    busy = f"busy_timeout={round(options.busy_timeout * 1000)}"
    arguments = {"async_creator_fn": sqlite_driver.connect}
    # Every transaction is ended by `Database.transaction`; a ROLLBACK on return would be one more trip to the thread.
    writer = create_async_engine(
        url,
        pool_size=1,
        max_overflow=0,
        pool_timeout=options.pool_timeout,
        pool_reset_on_return=None,
        connect_args=arguments,
        hide_parameters=True,
    )
    writing = (
        busy,
        "synchronous=FULL",
        "foreign_keys=ON",
        f"cache_spill={SPILL_PAGES}",
        f"wal_autocheckpoint={LOG_PAGES}",
    )
    sa.event.listen(writer.sync_engine, "connect", partial(_configure_sqlite, pragmas=writing))
    sa.event.listen(writer.sync_engine, "connect", keep_journal)
    sa.event.listen(writer.sync_engine, "begin", sqlite_driver.begin_immediate)
    reader = create_async_engine(
        url,
        pool_size=options.pool_size,
        max_overflow=0,
        pool_timeout=options.pool_timeout,
        skip_autocommit_rollback=True,  # who begins a transaction there ends it
        connect_args=arguments,
        hide_parameters=True,
    )
    sa.event.listen(reader.sync_engine, "connect", partial(_configure_sqlite, pragmas=(busy, "query_only=ON")))
    return writer, reader


def postgresql_engine(url: sa.URL, options: DatabaseOptions) -> AsyncEngine:
    """An engine whose connections commit to the disk, and are found lost where nothing comes back."""
    settings = {
        "statement_timeout": options.statement_timeout,
        "lock_timeout": options.lock_timeout,
        "idle_in_transaction_session_timeout": options.idle_in_transaction_timeout,
    }
    arguments: dict[str, Any] = {
        "timeout": options.connect_timeout,
        # The server ends what takes too long; where not even its answer comes, the network is gone.
        "command_timeout": options.statement_timeout + options.connect_timeout if options.statement_timeout else None,
        "server_settings": {
            **{name: str(round(seconds * 1000)) for name, seconds in settings.items()},
            **liveness_settings(options.lease),
        },
    }
    if options.synchronous_commit is not None:
        arguments["server_settings"]["synchronous_commit"] = options.synchronous_commit
    if options.ssl_root_cert is not None:
        arguments["ssl"] = _ssl_context(options)
    elif options.ssl_mode is not None:
        arguments["ssl"] = options.ssl_mode
    engine = create_async_engine(
        url,
        pool_size=options.pool_size,
        max_overflow=0,
        pool_timeout=options.pool_timeout,
        # The driver would parse JSON columns; the store's are kept and read as the text they are.
        json_deserializer=str,
        connect_args=arguments,
        hide_parameters=True,
    )
    if options.synchronous_commit is None:
        sa.event.listen(engine.sync_engine, "connect", _commit_to_disk)
    sa.event.listen(engine.sync_engine, "handle_error", _give_up_silent)
    sa.event.listen(engine.sync_engine, "checkout", _refuse_lost)
    return engine


def _refuse_lost(connection: Any, _record: Any, _proxy: Any) -> None:
    """Ask a connection of the pool for a sign of life, and replace all of them where it gives none.

    As `pool_pre_ping` does, in one trip to the server: that takes three, for the sake of a proxy that is not used with this
    driver. Every transaction begins with it.
    """
    try:
        connection.run_async(lambda driver: driver.fetchrow(";"))
    except Exception as error:
        raise InvalidatePoolError from error


def _commit_to_disk(connection: Any, _record: Any) -> None:
    """Where the server would answer COMMIT before anything is on its disk, have it wait; leave what is stronger."""
    raised = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    try:
        connection.run_async(
            lambda driver: driver.execute(raised)
        )  # outside any transaction, or a ROLLBACK would undo it
    except BaseException:
        connection.driver_connection.terminate()  # the pool, which has not got it yet, closes nothing
        raise


def _give_up_silent(context: ExceptionContext) -> None:
    """A connection on which nothing comes back is lost, and those that were opened before it are no better."""
    if isinstance(context.original_exception, OSError):
        context.is_disconnect = True


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


def _configure_sqlite(connection: Any, _record: Any, *, pragmas: Iterable[str]) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
