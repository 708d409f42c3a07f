"""Nothing that a run does is kept beyond its end, but for the rows of database sinks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from autocoder.database import Database
from autocoder.database_faults import database_said, is_store_fault
from autocoder.errors import PipelineError
from autocoder.graph import Edge, Graph, Node
from autocoder.runtime.region import Epoch, Region
from autocoder.runtime.run import Parts
from autocoder.runtime.unit import Unit
from autocoder.store.epoch import SinkRows
from autocoder.store.patience import patiently


class Unkept:
    """Nothing is kept; statements of database sinks, where there is a database, are committed epoch by epoch."""

    keeps = False

    def __init__(self, graph: Graph, database: Database | None) -> None:
        self._graph = graph
        self._database = database

    def join(self, parts: Parts, edge: Edge) -> None:
        raise AssertionError(f"{edge} is durable, and that is refused without a store")

    def open(self, parts: Parts, node: Node) -> None:
        raise AssertionError(f"{node.name} is an inbox, and that is refused without a store")

    def equip(self, parts: Parts, unit: Unit, region: Region) -> None:
        """Nothing: failed messages are tried again in their place, state lives in memory."""

    def last_epoch(self, region: str) -> int:
        return 0

    async def restore(self, parts: Parts) -> None:
        """There is nothing to restore."""

    async def commit(self, epoch: Epoch) -> None:
        """Write the rows of sinks; where the database is in trouble, wait and write them again.

        Not so where the answer to COMMIT was lost: no epoch is kept here that would say whether they are there.
        """
        if self._database is not None and epoch.done.sinks:
            database, sinks = self._database, epoch.done.sinks
            await patiently(database, "commit", lambda: self._write(database, sinks), attempts=sys.maxsize)

    async def _write(self, database: Database, sinks: Sequence[SinkRows]) -> None:
        async with database.transaction() as connection:
            for rows in sinks:
                try:
                    for statement in rows.statements:
                        await connection.execute(statement.statement, list(statement.rows) or None)
                except Exception as error:
                    if is_store_fault(error):
                        raise
                    raise PipelineError(self._graph.name, rows.component, "write", database_said(error)) from error

    def published(self, parts: Parts, epoch: Epoch) -> None:
        """Nobody waits for it."""

    async def serve(self, parts: Parts) -> None:
        """Nothing goes on beside the run."""
