"""Two ways to keep what a run does: nothing beyond its end, or everything, in the store."""

from __future__ import annotations

import logging
import random
from collections import Counter
from itertools import count
from typing import Any, Final

import anyio

from autocoder.codec import Codec
from autocoder.component import Component
from autocoder.config_model import payload_type_bindings
from autocoder.contract import OUT
from autocoder.database import Database, database_said
from autocoder.errors import PipelineError
from autocoder.graph import Edge, Graph, Node
from autocoder.masking import Redactor
from autocoder.port import substitute
from autocoder.runtime.channel import DEFAULT_CAPACITY, Channel
from autocoder.runtime.housekeeping import keep_house
from autocoder.runtime.inlet import Inlet
from autocoder.runtime.memory import StateMemory
from autocoder.runtime.outlet import Outlet
from autocoder.runtime.parking import Parking
from autocoder.runtime.region import Epoch, Region
from autocoder.runtime.run import Parts
from autocoder.runtime.stage import Stage
from autocoder.runtime.unit import Unit
from autocoder.state import cells_of
from autocoder.store.epoch import EpochCommit
from autocoder.store.failpoints import reached
from autocoder.store.ownership import Ownership
from autocoder.store.store import Row, SinkRefused, Store, is_store_fault, now

logger: Final = logging.getLogger("autocoder.pipeline")
REPLAY_POLL_SECONDS: Final = 0.5


class Unkept:
    """Nothing is kept; statements of database sinks, where there is a database, are committed epoch by epoch."""

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
        if self._database is None or not epoch.done.sinks:
            return
        async with self._database.transaction() as connection:
            for rows in epoch.done.sinks:
                try:
                    for statement in rows.statements:
                        await connection.execute(statement.statement, list(statement.rows) or None)
                except Exception as error:
                    raise PipelineError(self._graph.name, rows.component, "write", database_said(error)) from error

    def published(self, parts: Parts, epoch: Epoch) -> None:
        """Nobody waits for it."""

    async def serve(self, parts: Parts) -> None:
        """Nothing goes on beside the run."""


class Kept:
    """Everything is kept: positions, state, durable channels, parked messages, rows of sinks, one transaction an epoch."""

    def __init__(self, graph: Graph, store: Store, ownership: Ownership, redactor: Redactor) -> None:
        self._graph = graph
        self._store = store
        self._ownership = ownership
        self._redactor = redactor
        self._handles = count()
        self._codecs: dict[tuple[str, str], Codec] = {}
        self._outlets: dict[tuple[str, str], list[Outlet]] = {}
        self._known: set[int] = set()
        self._random = random.Random()  # noqa: S311  jitter is no secret
        region_of = {name: region.name for region in graph.regions for name in region.components}
        self._region_of = region_of

    # -- building -------------------------------------------------------------------------------------------------

    def join(self, parts: Parts, edge: Edge) -> None:
        producer, consumer = parts.units[edge.source], parts.units[edge.target]
        codec = self._codec(edge.target, edge.port)

        def refused(payload: Any, error: Exception) -> None:
            """A message that cannot be written down is parked where it would have gone, by hash and size."""
            if producer.parking is not None:
                producer.dead_letters += 1
                producer.parking.park(edge.output, payload, "dead_letter", attempts=1, error=error)

        outlet = Outlet(edge, codec, refused)
        producer.channels[edge.output].append(outlet)
        key = (edge.target, edge.port)
        self._outlets.setdefault(key, []).append(outlet)
        inlet = next((each for each in parts.inlets if (each.component, each.port) == key), None)
        if inlet is None:
            channel = Channel(
                f"{edge.target}.{edge.port} (durable)", capacity=edge.options.capacity or DEFAULT_CAPACITY
            )
            region = parts.regions[self._region_of[edge.target]]
            inlet = Inlet(self._store, *key, channel, codec, region, traced=consumer.traced)
            parts.inlets.append(inlet)
            parts.connect(edge, channel)
        sources = {self._region_of[each.edge.source] for each in self._outlets[key]}
        inlet.feed_from([parts.regions[name] for name in sources])

    def open(self, parts: Parts, node: Node) -> None:
        for port in node.ins:
            channel = Channel(f"{node.name}.{port} (inbox)", capacity=DEFAULT_CAPACITY)
            codec, region = self._codec(node.name, port), parts.regions[self._region_of[node.name]]
            inlet = Inlet(self._store, node.name, port, channel, codec, region, traced=parts.units[node.name].traced)
            if node.inbox == "drain":
                inlet.keep_open()
            parts.inlets.append(inlet)
            parts.arriving.setdefault(node.name, []).append((port, channel))

    def equip(self, parts: Parts, unit: Unit, region: Region) -> None:
        node = unit.node
        ports = node.ins if node.kind != "source" else {OUT: node.outs[OUT]}
        codecs = {port: self._codec(node.name, port) for port in (*ports, *node.outs)}
        inlets = {each.port: each for each in parts.inlets if each.component == node.name}

        def lookup(port: str, payload: Any) -> int | None:
            return inlets[port].find(payload) if port in inlets else None

        unit.parking = Parking(node, codecs, self._redactor, self._handle(region.name), lookup)
        cells = cells_of(node.component)
        if cells:
            bindings = payload_type_bindings(node.component, Component)
            state_codecs = {name: Codec(substitute(cell.type, bindings)) for name, cell in cells.items()}
            unit.memory = StateMemory(self._store, node.name, cells, state_codecs)

    def last_epoch(self, region: str) -> int:
        return self._ownership.epochs.get(region, 0)

    def _handle(self, region: str) -> Any:
        token = self._ownership.tokens[region]
        return lambda: f"{self._graph.name}/{region}/{token}/{next(self._handles)}"

    def _codec(self, component: str, port: str) -> Codec:
        """The codec of a port: by the type that its producers say, where the component itself takes anything."""
        if (component, port) not in self._codecs:
            self._codecs[component, port] = Codec(self._graph.payload_type(component, port))
        return self._codecs[component, port]

    # -- running --------------------------------------------------------------------------------------------------

    async def restore(self, parts: Parts) -> None:
        positions = await self._store.positions()
        for source in parts.sources:
            if source.name in positions:
                source.resume_from(positions[source.name])
        for unit in parts.units.values():
            if unit.memory is not None:
                await unit.memory.load_plain()
        for (component, port), outlets in self._outlets.items():
            if any(each.edge.options.limit for each in outlets):
                waiting = await self._store.backlog(component, port)
                for outlet in outlets:
                    outlet.backlog(waiting)
        await self._give_parked(parts, only_pending=False)

    async def serve(self, parts: Parts) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ownership.keep)
            tasks.start_soon(keep_house, self._store, parts)
            while True:
                await anyio.sleep(REPLAY_POLL_SECONDS)
                await self._give_parked(parts, only_pending=True)

    async def _give_parked(self, parts: Parts, *, only_pending: bool) -> None:
        """Parked rows go back to the component at whose port they are; those of a replay are found while it runs."""
        stage_of = {unit.node.name: stage for stage in parts.stages for unit in stage.units}
        after = 0
        # Read before the rows: one that was known then may be completed by the time they arrive, and look fresh.
        known = set(self._known)
        while True:
            rows = await self._store.parked(after=after, components=list(stage_of), only_pending=only_pending)
            if not rows:
                return
            after = rows[-1].seq
            for row in rows:
                if row.seq not in known and row.seq not in self._known:
                    self._known.add(row.seq)
                    self._give(stage_of[row.component], parts.units[row.component], row)

    def _give(self, stage: Stage, unit: Unit, row: Row) -> None:
        due = 0.0
        if row.status == "failed" and row.next_retry_at is not None:
            due = (row.next_retry_at - now()).total_seconds()
        try:
            payload = self._codec(row.component, row.port).decode(row.data or "")
        except ValueError as error:
            if unit.parking is not None:
                unit.parking.park(
                    row.port, row.data, "dead_letter", attempts=row.attempts, error=error, reference=row.seq
                )
                stage.resumed += 1
            return
        stage.give(unit, row.port, payload, row.attempts, row.seq, due)

    async def commit(self, epoch: Epoch) -> None:
        """Write the epoch; where the store is in trouble, wait and write the same epoch again: nothing is lost by waiting."""
        done = epoch.done
        commit = EpochCommit(
            epoch.region,
            self._ownership.tokens[epoch.region],
            epoch.number,
            done.positions,
            done.settled,
            done.outputs,
            done.state,
            done.parked,
            done.sinks,
        )
        if commit.is_empty():
            return
        options = self._store.database.options
        pause = options.retry_backoff
        while True:
            try:
                await self._store.commit(commit)
                return
            except SinkRefused as error:
                raise PipelineError(self._graph.name, error.component, "write", str(error)) from error
            except Exception as error:
                if not is_store_fault(error):
                    raise
                logger.warning("the store cannot commit: %s; trying again in %.1f s", database_said(error), pause)
                await anyio.sleep(self._random.uniform(pause / 2, pause))
                pause = min(options.retry_cap, 2 * pause)

    def published(self, parts: Parts, epoch: Epoch) -> None:
        reached("publish.begin")
        sent = Counter({(each.component, each.port): len(each.messages) for each in epoch.done.outputs})
        for inlet in parts.inlets:
            key = (inlet.component, inlet.port)
            taken = inlet.committed(epoch.done) if self._region_of[inlet.component] == epoch.region else 0
            if sent[key] or taken:
                inlet.wake()
            for outlet in self._outlets.get(key, ()):
                outlet.backlog(sent[key] - taken)
        for change in epoch.done.parked:
            if isinstance(change.reference, int) and change.status in ("completed", "dead_letter"):
                self._known.discard(change.reference)
