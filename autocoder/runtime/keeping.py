"""Everything that a run does is kept, in the store."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Any, Final

import anyio

from autocoder.codec import Codec
from autocoder.component import Component, Merger, Transformer
from autocoder.config_model import payload_type_bindings
from autocoder.contract import OUT
from autocoder.errors import PipelineError
from autocoder.graph import Edge, Graph, Node
from autocoder.handler import is_overridden
from autocoder.masking import Redactor
from autocoder.partition import returning
from autocoder.port import substitute
from autocoder.runtime.careful import CALL, UNCLEAN_STARTS, Careful
from autocoder.runtime.channel import DEFAULT_CAPACITY, Channel
from autocoder.runtime.ending import Ending
from autocoder.runtime.housekeeping import keep_house
from autocoder.runtime.inlet import Inlet
from autocoder.runtime.line import Line
from autocoder.runtime.memory import StateMemory
from autocoder.runtime.outlet import Outlet, field_key
from autocoder.runtime.parking import Finder, Parking
from autocoder.runtime.region import Epoch, Region
from autocoder.runtime.run import Parts
from autocoder.runtime.source_stage import SourceStage
from autocoder.runtime.stage import Stage
from autocoder.runtime.unit import Unit, parts_of
from autocoder.runtime.worker import Worker
from autocoder.state import cells_of
from autocoder.store.columns import now
from autocoder.store.committing import Committer, SinkRefused
from autocoder.store.epoch import EpochCommit
from autocoder.store.failpoints import reached
from autocoder.store.ownership import Ownership
from autocoder.store.patience import patiently
from autocoder.store.store import Row, Store

logger: Final = logging.getLogger("autocoder.pipeline")
REPLAY_POLL_SECONDS: Final = 0.5


class Kept:
    """Everything is kept: positions, state, durable channels, parked messages, rows of sinks, one transaction an epoch."""

    keeps = True

    def __init__(self, graph: Graph, store: Store, ownership: Ownership, redactor: Redactor) -> None:
        self._graph = graph
        self._store = store
        self._committer = Committer(store.database, store.pipeline)
        self._ownership = ownership
        self._redactor = redactor
        self._handles = count()
        self._codecs: dict[tuple[str, str], Codec] = {}
        self._outlets: dict[tuple[str, str], list[Outlet]] = {}
        self._known: set[int] = set()
        self._careful: dict[str, Careful] = {}
        region_of = {name: region.name for region in graph.regions for name in region.components}
        self._region_of = region_of
        self._stage_of = graph.stage_of()
        self._returning = returning(graph.edges, region_of)

    # -- building -------------------------------------------------------------------------------------------------

    def join(self, parts: Parts, edge: Edge) -> None:
        producer, consumer = parts.units[edge.source], parts.units[edge.target]
        codec = self._codec(edge.target, edge.port)

        def refused(payload: Any, error: ValueError) -> None:
            """A message that cannot be written down is parked at the output that it would have left by, for this channel."""
            if producer.parking is not None:
                self._tell(producer, edge.output, payload, error)
                producer.parking.park(
                    edge.output, payload, "dead_letter", attempts=1, error=error, target=f"{edge.target}.{edge.port}"
                )

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
            inlet.tell = partial(self._tell, consumer, edge.port)
            parts.inlets.append(inlet)
            parts.connect(edge, channel)
        inlet.feed_from(
            (
                parts.regions[self._region_of[each.source]],
                self._stage_of[each.source] if each in self._returning else None,
            )
            for each in (outlet.edge for outlet in self._outlets[key])
        )

    def open(self, parts: Parts, node: Node) -> None:
        for port in node.ins:
            channel = Channel(f"{node.name}.{port} (inbox)", capacity=DEFAULT_CAPACITY)
            codec, region = self._codec(node.name, port), parts.regions[self._region_of[node.name]]
            unit = parts.units[node.name]
            inlet = Inlet(self._store, node.name, port, channel, codec, region, traced=unit.traced)
            inlet.tell = partial(self._tell, unit, port)
            if node.inbox == "drain":
                inlet.keep_open()
            parts.inlets.append(inlet)
            parts.arriving.setdefault(node.name, []).append((port, channel))

    def _tell(self, unit: Unit, port: str, payload: Any, error: ValueError, attempts: int = 1) -> None:
        """A message that no component was given, or that left none: a dead letter, whatever the policy."""
        unit.dead_letters += 1
        unit.taken += port in unit.node.ins
        unit.failures.tell(unit.node, port, payload, error, attempts)

    def equip(self, parts: Parts, unit: Unit, region: Region) -> None:
        node = unit.node
        ports = node.ins if node.kind != "source" else {OUT: node.outs[OUT]}
        codecs = {port: self._codec(node.name, port) for port in (*ports, *node.outs)}
        inlets = {each.port: each for each in parts.inlets if each.component == node.name}

        def lookup(port: str) -> Finder:
            return inlets[port].taken.find if port in inlets else lambda _: None

        unit.parking = Parking(node, codecs, self._redactor, self._handle(region.name), lookup)
        if node.on_error.retry.attempts > 1:
            unit.line = self._line(unit)
        if _says_something_at_its_end(node):
            unit.ending = Ending(node.name)
        cells = cells_of(node.component)
        if cells:
            bindings = payload_type_bindings(node.component, Component)
            state_codecs = {name: Codec(substitute(cell.type, bindings)) for name, cell in cells.items()}
            unit.memory = StateMemory(self._store, node.name, cells, state_codecs)

    def _line(self, unit: Unit) -> Line | None:
        """By which key messages of a component stay in order where one fails: its own, or that of its channels."""
        if isinstance(unit, Worker) and unit.node.contract.keyed:
            return Line(unit.key_of)
        mine = [edge for edge in self._graph.edges if edge.target == unit.node.name]
        fields = {edge.port: edge.options.key for edge in mine if edge.options.key and edge.options.order != "priority"}
        return Line(lambda port, item: field_key(parts_of(item)[0], fields[port] or "")) if fields else None

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
        reached("recovery.begin")
        positions = await self._store.positions()
        for source in parts.sources:
            if source.name in positions:
                source.resume_from(positions[source.name])
        kept = await self._store.runtime_state()
        for name, unit in parts.units.items():
            if unit.memory is not None:
                await unit.memory.load_plain()
            if unit.ending is not None:
                unit.ending.load({key: data for key, data in kept.get(name, {}).items() if key != CALL})
        self._be_careful(parts, {region: kept.get(region, {}).get(CALL) for region in parts.regions})
        for (component, port), outlets in self._outlets.items():
            if any(each.edge.options.limit for each in outlets):
                waiting = await self._store.backlog(component, port)
                for outlet in outlets:
                    outlet.backlog(waiting)
        for stage in parts.stages:
            if stage.head.ending is not None:
                stage.intake.hold_for(stage.head.ending.told_ports)
        await self._give_parked(parts, only_pending=False)
        reached("recovery.done")

    def _be_careful(self, parts: Parts, suspects: Mapping[str, str | None]) -> None:
        """Start in careful mode where a region has died again and again, or in a call that was noted."""
        for plan in self._graph.regions:
            region, suspect = plan.name, suspects[plan.name]
            if suspect is None and self._ownership.unclean_starts[region] < UNCLEAN_STARTS:
                continue
            logger.warning(
                "pipeline %r, region %r has died %s; it makes one call at a time for a while, to find out in which",
                self._graph.name,
                region,
                "while it was watched" if suspect else "several times without a commit",
            )
            careful = self._careful[region] = Careful(
                region,
                partial(self._note, region),
                suspect,
                self._graph.commit.messages,
                partial(self._others_rest, parts, region),
            )
            for name in plan.components:
                parts.units[name].careful = careful

    def _others_rest(self, parts: Parts, region: str) -> bool:
        """Whether no call is on its way in the other regions that are in careful mode."""
        others = (name for name, careful in self._careful.items() if name != region and not careful.over)
        return all(parts.regions[name].rests() for name in others)

    def _relax(self, parts: Parts, epoch: Epoch, careful: Careful) -> None:
        """Careful mode is over with the commit of a conviction, or when everything that there was has been handled."""
        careful.committed(epoch.done.state)
        region = parts.regions[epoch.region]
        stages = [stage for stage in parts.stages if stage.region is region]
        if not careful.over and region.rests() and not any(stage.waiting for stage in stages):
            careful.end()
            units = [stages[0].head] if stages else [each.unit for each in parts.sources if each.region is region]
            units[0].changes.append(careful.cleared())

    async def _note(self, region: str, data: str | None) -> None:
        token = self._ownership.tokens[region]
        await patiently(self._store.database, "note", lambda: self._committer.note(region, token, CALL, data))

    async def serve(self, parts: Parts) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ownership.keep)
            tasks.start_soon(keep_house, self._store, self._ownership, parts)
            while True:
                await anyio.sleep(REPLAY_POLL_SECONDS)
                for careful in self._careful.values():
                    await careful.let_go_of_idle()
                await self._give_parked(parts, only_pending=True)

    async def _give_parked(self, parts: Parts, *, only_pending: bool) -> None:
        """Parked rows go back to the component at whose port they are; those of a replay are found while it runs."""
        stage_of = {unit.node.name: stage for stage in parts.stages for unit in stage.units}
        after = 0
        # Read before the rows: one that was known then may be completed by the time they arrive, and look fresh.
        known = set(self._known)
        while True:
            rows = await self._store.parked(after=after, components=list(parts.units), only_pending=only_pending)
            if not rows:
                return
            after = rows[-1].seq
            for row in rows:
                if row.seq not in known and row.seq not in self._known:
                    self._known.add(row.seq)
                    unit = parts.units[row.component]
                    if row.port in unit.node.ins:
                        self._give(stage_of[row.component], unit, row)
                    else:
                        source_of = {each.name: each for each in parts.sources}
                        self._pass_on(source_of.get(row.component) or stage_of[row.component], unit, row)

    def _pass_on(self, stage: Stage | SourceStage, unit: Unit, row: Row) -> None:
        """A message that was parked at an output goes on from there: to the channel that refused it, or, where a source
        rejected it and a person has made a payload of it, to all that the source feeds."""
        target = json.loads(row.details or "{}").get("target")
        parking, channels = unit.parking, unit.channels.get(row.port, [])
        refusing = [each for each in channels if isinstance(each, Outlet) and str(each.target) == target]
        if parking is None or stage.finishing:
            return
        try:
            codec = refusing[0].codec if refusing else self._codec(row.component, row.port)
            payload = codec.decode(row.data or "")
            codec.encode(payload)
        except ValueError as error:
            self._tell(unit, row.port, row.data, error)
            parking.park(row.port, row.data, "dead_letter", attempts=1, error=error, reference=row.seq)
        else:
            for channel in refusing or channels:
                channel.put([unit.item(payload, row.seq, row.identity)])
            parking.done(row.seq, row.port)
        stage.resumed += 1

    def _give(self, stage: Stage, unit: Unit, row: Row) -> None:
        due = 0.0
        if row.status == "failed" and row.next_retry_at is not None:
            due = (row.next_retry_at - now()).total_seconds()
        try:
            payload = self._codec(row.component, row.port).decode(row.data or "")
        except ValueError as error:
            if unit.parking is not None:
                self._tell(unit, row.port, row.data, error, row.attempts)
                unit.parking.park(
                    row.port, row.data, "dead_letter", attempts=row.attempts, error=error, reference=row.seq
                )
                stage.resumed += 1
            return
        if unit.node.kind == "merger" and row.status == "processing" and not row.attempts:
            stage.restore(unit, row, payload)
        else:
            stage.give(unit, row, payload, due)

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
        self._check_positions(done.positions)
        try:
            epoch.placed = await patiently(self._store.database, "commit", lambda: self._committer.commit(commit))
        except SinkRefused as error:
            raise PipelineError(self._graph.name, error.component, "write", str(error)) from error

    def _check_positions(self, positions: Mapping[str, Any]) -> None:
        for source, position in positions.items():
            try:
                json.dumps(position, allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                said = f"it says that it resumes at what JSON has no form for, so the next run could not: {error}"
                raise PipelineError(self._graph.name, source, "read", said) from error

    def published(self, parts: Parts, epoch: Epoch) -> None:
        reached("publish.begin")
        sent = Counter({(each.component, each.port): len(each.messages) for each in epoch.done.outputs})
        if epoch.region in self._careful:
            self._relax(parts, epoch, self._careful[epoch.region])
        for inlet in parts.inlets:
            key = (inlet.component, inlet.port)
            taken = inlet.committed(epoch.done) if self._region_of[inlet.component] == epoch.region else 0
            for placed in epoch.placed:
                if (placed.output.component, placed.output.port) == key:
                    inlet.offer(placed)
            if sent[key] or taken or epoch.done.ended:
                inlet.wake()
            for outlet in self._outlets.get(key, ()):
                outlet.backlog(sent[key] - taken)
        for change in epoch.done.parked:
            if isinstance(change.reference, int) and change.status in ("completed", "dead_letter"):
                self._known.discard(change.reference)


def _says_something_at_its_end(node: Node) -> bool:
    kind = type(node.component)
    if node.kind == "merger":
        return is_overridden(kind, Merger, "finish") or is_overridden(kind, Merger, "ended")
    return node.kind == "transformer" and is_overridden(kind, Transformer, "finish")
