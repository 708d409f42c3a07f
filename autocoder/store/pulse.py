"""Renews a lease where the event loop does not come to it: a handler may compute, or wait without letting others run, for
longer than a lease lasts, and its process is not frozen for that.

A thread of its own looks now and then whether the event loop has renewed the lease, and does it in its place, over a
connection of its own. A process that is stopped stops with all its threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import anyio
import anyio.to_thread
from sqlalchemy.exc import DBAPIError

from autocoder.database import END_SECONDS, Database, open_database
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError

LATE: Final = 0.5
"""The part of a lease after which a renewal is late."""
LOOKS: Final = 8
"""So often in the time of a lease it looks."""

Renew = Callable[[Database], Awaitable[object]]


class Pulse:
    """When a lease was renewed last, in seconds of the monotonic clock, by whichever of the two."""

    def __init__(self, options: DatabaseOptions, renew: Renew) -> None:
        self._options = replace(options, pool_size=1, retry_attempts=1)
        self._renew = renew
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._renews = False
        self._turn = threading.Lock()
        """Who sees that it is over renews nothing, and for whoever renews is waited."""

    def renewed(self) -> None:
        """The event loop has renewed the lease."""
        self._renewed = time.monotonic()

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Look after the lease for the length of a block; for a renewal that is under way then is waited, but not for long."""
        self._thread.start()
        try:
            yield
        finally:
            with self._turn:
                self._over.set()
                renews = self._renews
            if renews:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._thread.join, END_SECONDS)

    def _beat(self) -> None:
        lease = self._options.lease
        while not self._over.wait(lease / LOOKS):
            if time.monotonic() - self._renewed > lease * LATE:
                with self._turn:
                    if self._over.is_set():
                        return
                    self._renews = True
                # In trouble the store is for the event loop, too, and the fence judges in the end.
                with suppress(DBAPIError, OSError, UnreachableError):
                    anyio.run(self._renew_once)
                self._renews = False

    async def _renew_once(self) -> None:
        async with open_database(self._options) as database:
            await self._renew(database)
        self.renewed()
