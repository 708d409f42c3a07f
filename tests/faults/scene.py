"""A pipeline on its way, to which something is done, and the judgement: nothing lost, nothing doubled."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import anyio
import pytest

from autocoder.database import open_database
from autocoder.database_options import DatabaseOptions
from autocoder.store.schema import prepare
from tests.crash.components import metadata
from tests.crash.oracle import judge
from tests.crash.topologies import TOPOLOGIES

MESSAGES = 600
PATIENCE = 90.0
_numbers = count()


async def make_tables(url: str) -> None:
    """Every table that the pipelines of the scenes need."""
    async with open_database(url) as database:
        await prepare(database)
        async with database.transaction() as connection:
            await connection.run_sync(metadata.create_all)


class Scene:
    """One run of a topology. `url` is a way to the database that no fault touches; `options` is the run's own way."""

    def __init__(
        self,
        url: str,
        options: DatabaseOptions,
        topology: str,
        caplog: pytest.LogCaptureFixture,
        *,
        messages: int = MESSAGES,
    ) -> None:
        self.url = url
        self.options = options
        self.topology = TOPOLOGIES[topology]
        self.seed = next(_numbers)
        self.name = f"{topology}_{self.seed}"
        self.messages = messages
        self.pipeline = self.topology.build(self.name, self.seed, messages)
        self._log = caplog
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def _run(self) -> None:
        try:
            self.pipeline.run(database=self.options)
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The run, beside the block; it must come to its end, in peace, some time after the block.

        It has a thread and an event loop of its own: the drivers leave errors in the loop of a connection that breaks, which
        the loop of a test would not forgive.
        """
        self._log.set_level(logging.WARNING, logger="autocoder")
        with anyio.fail_after(PATIENCE):
            threading.Thread(target=self._run, daemon=True).start()
            yield
            while not self._ended.is_set():
                await anyio.sleep(0.01)
        if self._failure is not None:
            raise self._failure

    async def under_way(self, messages: int = 40) -> None:
        """Wait until so many messages more were read: as no source runs far ahead, others were committed."""
        upto = self._read + messages
        while self._read < upto:
            self._goes_on()
            await anyio.sleep(0.005)

    def _goes_on(self) -> None:
        if self._ended.is_set():
            raise AssertionError("the run ended before its time") from self._failure

    @property
    def _read(self) -> int:
        progress = self.pipeline.progress
        return 0 if progress is None else progress.messages_in

    async def troubled(self, said: str = "trying again") -> None:
        """Wait until the run has noticed that something is wrong with the store, and said what."""
        while not any("trying again" in line and said in line for line in self._log.text.splitlines()):
            self._goes_on()
            await anyio.sleep(0.01)
        self._log.clear()

    async def judged(self) -> list[str]:
        """What is wrong with what the run has left; empty where nothing was lost or doubled."""
        return await judge(self.url, self.name, self.topology.fold(self.seed, self.messages))
