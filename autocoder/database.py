"""The pipeline's own database: an embedded SQLite file, or PostgreSQL, through one interface.

A transaction never awaits user code.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction

from autocoder.database_cures import cure_for
from autocoder.database_engines import parse_url, postgresql_engine, sqlite_engines
from autocoder.database_faults import (
    NoConnectionError,
    UnknownOutcomeError,
    database_said,
    is_drivers,
    is_refusal,
    is_store_fault,
)
from autocoder.database_options import DatabaseOptions
from autocoder.database_sessions import LostSessions
from autocoder.database_turns import turns_of
from autocoder.errors import UnreachableError, UsageError
from autocoder.sqlite_driver import SqliteConnection

T = TypeVar("T")
_random = random.Random()  # noqa: S311  jitter is no secret
# How long the end of a transaction may take before its connection is given up: nobody may wait for a dead network.
END_SECONDS: Final = 5.0
_IN_USE: Final[ContextVar[Database | None]] = ContextVar("_IN_USE", default=None)


@contextmanager
def in_use(database: Database | None) -> Iterator[None]:
    """Let `pipeline_database` find it, in everything that starts within this block."""
    token = _IN_USE.set(database)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def pipeline_database() -> Database:
    """The database of the pipeline that is running: for a component that reads there, from its `open` on.

    What belongs to an epoch is written by `Sink.statements` alone. Raises UsageError where there is none.
    """
    database = _IN_USE.get()
    if database is None:
        raise UsageError("no pipeline with a database is running here; run it with --database sqlite:///FILE")
    return database


class Database:
    """An open database. `url` is shown without its password."""

    def __init__(self, options: DatabaseOptions, url: sa.URL, engine: AsyncEngine, reader: AsyncEngine) -> None:
        self.options = options
        self.url = options.shown
        self.engine = engine
        self.path = url.database if engine.dialect.name == "sqlite" else None
        self._reader = reader
        self._turns = turns_of(self.path) if self.path is not None else None
        self._writer: list[SqliteConnection] = []
        if self.path is not None:
            sa.event.listen(engine.sync_engine, "connect", self._connects)
            sa.event.listen(engine.sync_engine, "close", self._closes)
            sa.event.listen(engine.sync_engine, "detach", self._closes)
        self._lost = LostSessions(engine) if self.path is None else None

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for short reads, which on SQLite never waits for the writer."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        with self._to_the_end():
            async with self._connected(self._reader) as connection:
                yield connection

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """On SQLite: be the one in this event loop that writes the file. The wait for it can be cancelled."""
        # What follows is shielded: a task that does nothing but this could never be cancelled without.
        await anyio.lowlevel.checkpoint_if_cancelled()
        async with self._turns.turn(self.options.pool_timeout) if self._turns is not None else nullcontext():
            yield

    @asynccontextmanager
    async def transaction(self, *, has_turn: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction on the writer connection; committed at the end of the block, in a shield: COMMIT is never cut.

        On SQLite those who write a file from one event loop take turns; the wait for one can be cancelled, but not what
        follows. A block must not wait for somebody who writes the same file, nor begin another transaction there. `has_turn`
        says that the caller waited for it.
        """
        async with nullcontext() if has_turn else self.turn():
            with self._to_the_end():
                async with self._connected(self.engine) as connection:
                    transaction = await connection.begin()
                    try:
                        yield connection
                    except BaseException:
                        await _roll_back(connection, transaction)
                        raise
                    with anyio.CancelScope(shield=True):
                        await _commit(connection, transaction)

    async def at_once(self, work: Callable[[sa.Connection], T], *, has_turn: bool = False) -> T:
        """Call a function with a transaction, which is committed when it returns.

        As `transaction`, but on SQLite all of it is one trip to the thread of the connection, so that it costs the event loop
        nothing: the function must not touch what the event loop works on. On PostgreSQL it runs in the event loop.
        """
        if not self.is_sqlite:
            async with self.transaction() as connection:
                return await connection.run_sync(work)
        async with nullcontext() if has_turn else self.turn():
            with self._to_the_end():
                writer = await self._writing_driver()
                try:
                    result: T = await writer.at_once(work)
                except BaseException as error:
                    # What it has not ended by itself ends with the connection; one that failed at the file looks at it anew.
                    if writer.in_transaction or is_store_fault(error):
                        async with self._connected(self.engine) as connection:
                            await connection.invalidate()
                    raise
        return result

    async def _writing_driver(self) -> SqliteConnection:
        """The connection of the pool that writes; who has the turn uses it without asking the pool, which takes as long as
        writing ten rows."""
        while not self._writer:
            async with self._connected(self.engine):
                pass
        return self._writer[-1]

    def _to_the_end(self) -> anyio.CancelScope:
        """A scope that no cancellation enters, on SQLite: there a statement goes on in its thread when nobody waits for it
        any more, and what it is part of is short."""
        return anyio.CancelScope(shield=self.is_sqlite)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """A connection beside those of the pool, for what lives as long as the connection does; closed at the end."""
        async with self._connected(self.engine) as connection:
            driver: Any = (await connection.get_raw_connection()).dbapi_connection
            await connection.run_sync(lambda each: each.detach())
            try:
                yield connection
            finally:
                # The pool closes nothing that it let go of where a statement was cut off, and what it holds would stay held.
                if connection.invalidated:
                    driver.terminate()

    def _connects(self, connection: Any, _record: Any) -> None:
        self._writer = [connection.driver_connection]

    def _closes(self, connection: Any, _record: Any) -> None:
        self._writer = [each for each in self._writer if each is not connection.driver_connection]

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool; raises NoConnectionError where there is none."""
        try:
            # In a shield: a connection that has just been made would be lost where what is done with it first is cancelled.
            with anyio.CancelScope(shield=True):
                connection = await engine.connect()
        except Exception as error:
            if isinstance(error, PoolTimeoutError):
                limit = f"{self.options.pool_timeout:g} s (pool_timeout; pool_size is {self.options.pool_size})"
                raise NoConnectionError(f"no connection of the pool became free in {limit}") from error
            if is_drivers(error):
                raise NoConnectionError(database_said(error)) from error
            raise
        try:
            if self._lost:
                await self._lost.end(connection)
            yield connection
        finally:
            # Nobody waits long for a network that is gone, and what happened before counts more than how this ends.
            with anyio.CancelScope(shield=True), anyio.move_on_after(END_SECONDS), suppress(DBAPIError, OSError):
                await connection.close()


async def _commit(connection: AsyncConnection, transaction: AsyncTransaction) -> None:
    try:
        await transaction.commit()
    except (DBAPIError, OSError) as error:
        if connection.dialect.name == "sqlite":
            with suppress(Exception):  # what it has not ended by itself ends with the connection
                await connection.invalidate()
            raise
        if not connection.invalidated:
            raise  # the database has answered
        said = f"the connection was lost during COMMIT, and what was to be stored may be stored: {database_said(error)}"
        raise UnknownOutcomeError(said) from error


async def _roll_back(connection: AsyncConnection, transaction: AsyncTransaction) -> None:
    """Undo a transaction, or give its connection up, which does the same; never hides why."""
    with anyio.CancelScope(shield=True):
        with anyio.move_on_after(END_SECONDS), suppress(Exception):
            await transaction.rollback()
            return
        with anyio.move_on_after(END_SECONDS), suppress(Exception):
            await connection.invalidate()


@asynccontextmanager
async def open_database(database: str | DatabaseOptions) -> AsyncIterator[Database]:
    """Open a database (a URL, or options in full) for the length of a block.

    Raises UnreachableError, naming the database and the cure, when it cannot be opened in `retry_attempts` tries; a refusal
    that waiting does not mend (a wrong password, no such database) is final at once.
    """
    options = database if isinstance(database, DatabaseOptions) else DatabaseOptions(database)
    url = parse_url(options.url)
    if options.backend == "sqlite":
        engine, reader = sqlite_engines(url, options)
    else:
        engine = reader = postgresql_engine(url, options)
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
            async with database.transaction() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except (DBAPIError, OSError) as error:
            if database.is_sqlite or attempt >= options.retry_attempts or is_refusal(error):
                raise UnreachableError(
                    f"the database {database.url} cannot be opened: {database_said(error)}; {cure_for(error)}"
                ) from error
        else:
            return
        pause = min(options.retry_cap, options.retry_backoff * 2 ** (attempt - 1))
        await anyio.sleep(_random.uniform(pause / 2, pause))
        attempt += 1
