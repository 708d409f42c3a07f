"""Wakes those who wait for assessments: one look for all waiters of a process, soon after something was committed.

The truth is a query. On PostgreSQL a NOTIFY hints when to ask it; on SQLite the file's data version does, which a read of a
few microseconds tells. Where the hint fails, the query is asked every so often.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database
from autocoder_components.assessments.lifecycle.reading import settled
from autocoder_components.assessments.lifecycle.rows import CHANNEL

POLL_SECONDS: Final = 0.5
"""How often the database is asked where no hint comes."""
GLANCE_SECONDS: Final = 0.01
"""How often the data version of an SQLite file is read."""
_logger: Final = logging.getLogger("autocoder.assessments")


class Waiters:
    """The waiters of one process on one database. A task looks for them while there are any."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events: dict[str, anyio.Event] = {}
        self._watched: Counter[str] = Counter()
        self._watcher: asyncio.Task[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._closed = False

    @asynccontextmanager
    async def watching(self, assessment_id: str) -> AsyncIterator[Wakeup]:
        """A wake-up call that is given when the assessment may have ended; it may be given in vain."""
        self._watched[assessment_id] += 1
        self._events.setdefault(assessment_id, anyio.Event())
        if self._watcher is None or self._watcher.done():
            # No task group: the task belongs to no caller, and whoever waits last ends it.
            self._watcher = asyncio.create_task(self._watch(), name="assessments: waiting")
        try:
            yield Wakeup(self._events, assessment_id)
        finally:
            self._watched[assessment_id] -= 1
            if not self._watched[assessment_id]:
                del self._watched[assessment_id]
                self._events.pop(assessment_id, None)

    async def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._scope is not None:
            self._scope.cancel()  # not the task itself: that would cut a statement, which goes on in its thread on SQLite
        if self._watcher is not None:
            await self._watcher
            self._watcher = None

    @property
    def _is_wanted(self) -> bool:
        return bool(self._watched) and not self._closed

    async def _watch(self) -> None:
        with anyio.CancelScope() as self._scope:
            while self._is_wanted:
                try:
                    async with AsyncExitStack() as stack:
                        hint = await (self._by_version(stack) if self._database.is_sqlite else self._by_notice(stack))
                        while self._is_wanted:
                            await self._wake()
                            await hint()
                except Exception as error:  # whoever waits hears of it when it reads; here it is looked for again
                    _logger.warning("cannot look for ended assessments: %s; trying again", type(error).__name__)
                    await anyio.sleep(POLL_SECONDS)

    async def _wake(self) -> None:
        asked = list(self._watched)
        async with self._database.reading() as connection:
            ended = await settled(connection, asked)
        for each in ended:
            if each in self._events:
                self._events[each].set()

    async def _by_notice(self, stack: AsyncExitStack) -> Callable[[], Awaitable[None]]:
        """A hint by NOTIFY, on a connection of its own; each is waited for so long at most."""
        connection = await stack.enter_async_context(self._database.session())
        held: Any = (await connection.get_raw_connection()).dbapi_connection
        driver = held.driver_connection
        noticed = anyio.Event()

        def notice(*_: Any) -> None:
            noticed.set()

        await driver.add_listener(CHANNEL, notice)
        driver.add_termination_listener(notice)

        async def hint() -> None:
            nonlocal noticed
            if driver.is_closed():
                raise ConnectionError("the connection that listens is lost")
            with anyio.move_on_after(POLL_SECONDS):
                await noticed.wait()
            noticed = anyio.Event()

        return hint

    async def _by_version(self, stack: AsyncExitStack) -> Callable[[], Awaitable[None]]:
        """A hint by the data version of the file, which every commit of another connection changes."""
        connection = await stack.enter_async_context(self._database.reading())
        known = await _data_version(connection)

        async def hint() -> None:
            nonlocal known
            until = anyio.current_time() + POLL_SECONDS
            # Another process commits, which no event tells.
            while (found := await _data_version(connection)) == known and anyio.current_time() < until:
                if self._closed:  # a read is not cancelled
                    return
                await anyio.sleep(GLANCE_SECONDS)
            known = found

        return hint


class Wakeup:
    """The wake-up call for one assessment."""

    def __init__(self, events: dict[str, anyio.Event], assessment_id: str) -> None:
        self._events, self._id = events, assessment_id

    async def wait(self) -> None:
        """Wait for the call."""
        await self._events[self._id].wait()

    def clear(self) -> None:
        """Wait for the next one."""
        if self._events[self._id].is_set():
            self._events[self._id] = anyio.Event()


async def _data_version(connection: AsyncConnection) -> int:
    version = int((await connection.execute(sa.text("PRAGMA data_version"))).scalar_one())
    await connection.rollback()  # a read that stays open would see the past
    return version
