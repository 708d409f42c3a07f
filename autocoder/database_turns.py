"""Whose turn it is to write an SQLite file, among all that is open in one event loop: first come, first served.

SQLite's own lock knows no queue: who waits for it looks again now and then, and among many some wait in vain. Other event
loops and processes are not in this queue; they meet at the lock of the file, within `busy_timeout`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from autocoder.database_faults import NoTurnError


class Turns:
    """The queue of one file in one event loop."""

    def __init__(self) -> None:
        self._lock = anyio.Lock(fast_acquire=True)

    @asynccontextmanager
    async def turn(self, patience: float) -> AsyncIterator[None]:
        """Be the one that writes for the length of a block; the wait for it can be cancelled.

        Raises NoTurnError where it does not come in `patience` seconds.
        """
        try:
            self._lock.acquire_nowait()
        except anyio.WouldBlock:
            try:
                with anyio.fail_after(patience):
                    await self._lock.acquire()
            except TimeoutError:
                said = f"others of this process write the file, and no turn came in {patience:g} s (pool_timeout)"
                raise NoTurnError(said) from None
        try:
            yield
        finally:
            self._lock.release()


_TURNS: Final[WeakValueDictionary[tuple[EventLoopToken, str], Turns]] = WeakValueDictionary()


def turns_of(path: str) -> Turns:
    """The queue for a file in the event loop that runs, which lives as long as somebody has it."""
    return _TURNS.setdefault((current_token(), os.path.realpath(path)), Turns())
