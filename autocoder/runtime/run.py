"""One run of a pipeline: builds units, channels and stages from the graph, and supervises them.

Structured concurrency: every task lives in one task group, a failure cancels the others, and whatever was opened is
closed, in reverse order, however the run ends.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio

from autocoder.component import Sink, Source
from autocoder.contract import OUT
from autocoder.errors import AutocoderError, PipelineError
from autocoder.faults import Fault, faults
from autocoder.graph import Edge, Graph, Node
from autocoder.graph import Region as RegionPlan
from autocoder.graph import Stage as StagePlan
from autocoder.handler import is_overridden
from autocoder.masking import Redactor
from autocoder.message import Barrier
from autocoder.runtime.attempts import Processes, awaited, awaited_batch, threaded
from autocoder.runtime.careful import Call
from autocoder.runtime.channel import DEFAULT_CAPACITY, Channel, Intake, ranking
from autocoder.runtime.failures import NO_PAYLOAD, DeadLetter, Failures
from autocoder.runtime.inlet import Inlet
from autocoder.runtime.pool_stage import PoolStage
from autocoder.runtime.region import Contribution, Epoch, Region
from autocoder.runtime.sink_unit import SinkUnit
from autocoder.runtime.source_stage import SourceStage
from autocoder.runtime.stage import PlainStage, Stage
from autocoder.runtime.unit import CHUNK, Unit
from autocoder.runtime.worker import Worker
from autocoder.summary import ComponentSummary, RunSummary

logger: Final = logging.getLogger("autocoder.pipeline")
CLOSE_SECONDS: Final = 10.0
FORCED_SECONDS: Final = 1.0  # for processes whose work nobody waits for any more


@dataclass(slots=True)
class Parts:
    """What a graph becomes at run time."""

    units: dict[str, Unit] = field(default_factory=dict)
    channels: list[tuple[Edge, Channel]] = field(default_factory=list)
    arriving: dict[str, list[tuple[str, Channel]]] = field(default_factory=dict)
    sources: list[SourceStage] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    regions: dict[str, Region] = field(default_factory=dict)
    inlets: list[Inlet] = field(default_factory=list)
    processes: list[Processes] = field(default_factory=list)

    def connect(self, edge: Edge, channel: Channel) -> None:
        """A channel that ends at an input port."""
        self.channels.append((edge, channel))
        self.arriving.setdefault(edge.target, []).append((edge.port, channel))


class Task(Protocol):
    """What runs for as long as the run does."""

    async def run(self) -> None: ...


class Keeper(Protocol):
    """What makes a run durable, or does not: asked at build, start, commit and publication."""

    keeps: bool
    """Whether there is something to commit at every epoch."""

    def join(self, parts: Parts, edge: Edge) -> None:
        """Make the two ends of a durable channel."""

    def open(self, parts: Parts, node: Node) -> None:
        """Make the input of an inbox, which nothing in the pipeline feeds."""

    def equip(self, parts: Parts, unit: Unit, region: Region) -> None:
        """Give a unit what it needs to park messages and to keep state."""

    def last_epoch(self, region: str) -> int:
        """The number of the region's last committed epoch."""

    async def restore(self, parts: Parts) -> None:
        """Before the first message: positions, plain state, parked messages."""

    async def commit(self, epoch: Epoch) -> None:
        """Write an epoch, all of it or none."""

    def published(self, parts: Parts, epoch: Epoch) -> None:
        """An epoch is committed."""

    async def serve(self, parts: Parts) -> None:
        """What goes on beside the run, until it is cancelled."""


class Run:
    """A single run; `drain` may be called at any time from its event loop."""

    def __init__(
        self,
        graph: Graph,
        *,
        keeper: Keeper,
        redactor: Redactor,
        on_dead_letter: Callable[[DeadLetter], None] = lambda _: None,
    ) -> None:
        self.graph = graph
        self._keeper = keeper
        self._failures = Failures(graph.name, redactor, on_dead_letter)
        self._parts = Parts()
        self._opened: list[Unit] = []
        self._drained = False
        self._started = time.monotonic()

    def drain(self) -> None:
        """Stop reading; finish, commit and close what was read. The run then returns as after an end of input."""
        self._drained = True
        for region in self._parts.regions.values():
            region.draining = True
        for source in self._parts.sources:
            source.drain()
        for inlet in self._parts.inlets:
            inlet.drain()
        for stage in self._parts.stages:
            stage.drain()

    async def __call__(self) -> RunSummary:
        """Run to the end of input or a drain; raises what stopped the pipeline."""
        self._build()
        failure: BaseException | None = None
        try:
            await self._keeper.restore(self._parts)
            await self._open()
            await self._supervise()
            await self._finish()
        except BaseException as error:
            failure = _root(error)
        closing = await self._close(forced=isinstance(failure, anyio.get_cancelled_exc_class()))
        if failure is not None:
            for each in closing:
                failure.add_note(str(each))
            raise failure
        if closing:
            raise closing[0]
        return self.summary()

    def summary(self) -> RunSummary:
        """The counts as they stand."""
        dropped: Counter[str] = Counter()
        for edge, channel in self._parts.channels:
            dropped[edge.target] += channel.dropped
        components = {
            name: ComponentSummary(
                kind=unit.node.kind if unit.node.inbox is None else "inbox",
                taken=unit.given + unit.taken if unit.node.kind == "source" else unit.taken,
                given=unit.given,
                dead_letters=unit.dead_letters,
                dropped=unit.dropped + dropped[name],
                retried=unit.retried,
            )
            for name, unit in self._parts.units.items()
        }
        return RunSummary(self.graph.name, components, time.monotonic() - self._started, drained=self._drained)

    def pending(self) -> Mapping[str, int]:
        """Messages waiting in each channel, by edge."""
        return {str(edge): channel.size for edge, channel in self._parts.channels}

    # -- building -------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        graph, parts = self.graph, self._parts
        traced = _traced(graph)
        for name, node in graph.nodes.items():
            kind = {"source": Unit, "sink": SinkUnit}.get(node.kind, Worker)
            unit = parts.units[name] = kind(node, self._failures, traced=name in traced)
            for cell in unit.cells:
                cell.reset()
        for plan in graph.regions:
            parts.regions[plan.name] = Region(plan.name, graph.commit, self._keeper.commit, self._published)
        stage_of = graph.stage_of()
        for edge in graph.edges:
            producer, consumer = parts.units[edge.source], parts.units[edge.target]
            if edge.options.durable:
                self._keeper.join(parts, edge)
            elif stage_of[edge.source] == stage_of[edge.target]:
                producer.units[edge.output].append(consumer)
            else:
                channel = _channel(edge)
                parts.connect(edge, channel)
                producer.channels[edge.output].append(channel)
        for node in graph.nodes.values():
            if node.inbox is not None:
                self._keeper.open(parts, node)
        for plan in graph.regions:
            self._build_region(plan)

    def _build_region(self, plan: RegionPlan) -> None:
        parts, region = self._parts, self._parts.regions[plan.name]
        heads = [self.graph.nodes[each.head] for each in plan.stages]
        sources = [
            SourceStage(parts.units[each.name], self.graph.name, region) for each in heads if each.kind == "source"
        ]
        inlets = [each for each in parts.inlets if each.component in plan.components]
        for name in plan.components:
            self._keeper.equip(parts, parts.units[name], region)
        stages = [
            self._stage(each, region) for each, head in zip(plan.stages, heads, strict=True) if head.kind != "source"
        ]
        for stage in stages:
            for source in sources:
                for _, channel in parts.arriving[stage.name]:
                    if isinstance(stage, PlainStage) and channel in source.unit.channels[OUT]:
                        source.feeds(channel, stage)
        for stage in stages:
            stage.inlets = [each for each in inlets if each.component == stage.name]
        region.start_barrier = _starter([*sources, *inlets])
        region.activity = _activity(sources, inlets, stages)
        region.rests = lambda: all(each.rests for each in stages) and all(each.rests for each in inlets)
        region.begin(
            sources=[*(each.name for each in sources), *(each.name for each in inlets)],
            stages=[each.name for each in stages],
            after=self._keeper.last_epoch(plan.name),
            has_epochs=self._keeper.keeps or any(_waits_for_commits(parts.units[each]) for each in plan.components),
        )
        parts.sources.extend(sources)
        parts.stages.extend(stages)

    def _stage(self, plan: StagePlan, region: Region) -> Stage:
        head = self._parts.units[plan.head]
        node = head.node
        holds = getattr(node.component, "holds", None) if node.kind == "merger" else None
        intake = Intake(self._parts.arriving[plan.head], holds)
        if node.is_plain or not isinstance(head, Worker):
            return PlainStage(head, intake, region)
        if node.run_in == "process":
            processes = Processes(head)
            self._parts.processes.append(processes)
            return PoolStage(head, intake, region, processes.attempt, slot_size=None)
        if node.run_in == "thread":
            return PoolStage(head, intake, region, threaded(head), slot_size=None)
        if node.contract.batch is not None:
            return PoolStage(head, intake, region, awaited_batch(head), slot_size=CHUNK)
        return PoolStage(head, intake, region, awaited(head), slot_size=1)

    # -- running --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        for unit in self._parts.units.values():
            if unit.node.run_in == "process":
                continue  # opened in its worker processes
            try:
                await unit.component.open()
            except faults() as error:
                raise self._hook_failed(unit.node, "open", error) from error
            self._opened.append(unit)

    async def _supervise(self) -> None:
        if self._drained:  # told to stop while opening
            self.drain()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            running: list[Task] = [*self._parts.stages, *self._parts.inlets, *self._parts.sources]
            for each in running:
                tasks.start_soon(each.run)

    async def _watch(self) -> None:
        """Run the regions to their final commits; what only serves them (leases, polling) ends with them."""
        async with anyio.create_task_group() as serving:
            serving.start_soon(self._keeper.serve, self._parts)
            async with anyio.create_task_group() as regions:
                for region in self._parts.regions.values():
                    regions.start_soon(region.run)
            serving.cancel_scope.cancel()

    async def _published(self, epoch: Epoch) -> None:
        """After the commit: tell each source how far it is safe, and the next regions that there is work."""
        self._keeper.published(self._parts, epoch)
        positions = epoch.done.positions
        for source in self._parts.sources:
            if source.name in positions and is_overridden(type(source.unit.component), Source, "committed"):
                try:
                    await source.unit.component.committed(positions[source.name])
                except faults() as error:
                    raise self._hook_failed(source.unit.node, "committed", error) from error

    async def _finish(self) -> None:
        for unit in self._parts.units.values():
            if unit.node.kind == "sink":
                try:
                    if unit.careful is not None and is_overridden(type(unit.component), Sink, "finish"):
                        async with unit.careful.last_hook(Call(unit.node.name, "finish()", "")):
                            await unit.component.finish()
                    else:
                        await unit.component.finish()
                except faults() as error:
                    raise self._hook_failed(unit.node, "finish", error) from error

    async def _close(self, *, forced: bool) -> list[PipelineError]:
        """Close whatever was opened, the last first, each within its time; failures are returned, not raised."""
        errors: list[PipelineError] = []
        with anyio.CancelScope(shield=True):
            for processes in self._parts.processes:
                with anyio.move_on_after(FORCED_SECONDS if forced else CLOSE_SECONDS):
                    await processes.close()
            for unit in reversed(self._opened):
                try:
                    with anyio.fail_after(CLOSE_SECONDS):
                        await unit.component.close()
                except faults() as error:
                    errors.append(self._hook_failed(unit.node, "close", error))
        return errors

    def _hook_failed(self, node: Node, hook: str, error: Fault) -> PipelineError:
        failed = self._failures.stopped(node, None, NO_PAYLOAD, error, hook=hook)
        failed.__cause__ = error
        if isinstance(error, AutocoderError):
            failed.exit_code = error.exit_code
        return failed


def _waits_for_commits(unit: Unit) -> bool:
    """Whether a component has something to do at a barrier or after a commit, also in a run of which nothing is kept."""
    if isinstance(unit.component, Sink):
        return unit.node.contract.transactional or is_overridden(type(unit.component), Sink, "flush")
    return unit.node.kind == "source" and is_overridden(type(unit.component), Source, "committed")


def _channel(edge: Edge) -> Channel:
    options = edge.options
    by = ranking(options.key) if options.order == "priority" and options.key else None
    return Channel(
        str(edge), capacity=options.capacity or DEFAULT_CAPACITY, on_full=options.on_full or "block", order_by=by
    )


def _traced(graph: Graph) -> set[str]:
    """The components of the regions in which a sink asks for idempotency keys."""
    return {
        name
        for region in graph.regions
        if any(graph.nodes[each].contract.wants_keys for each in region.components)
        for name in region.components
    }


def _activity(sources: list[SourceStage], inlets: list[Inlet], stages: list[Stage]) -> Callable[[], int]:
    """How much happened in a region: when it grows there is something to commit."""

    def activity() -> int:
        read = sum(each.unit.given + each.unit.taken for each in sources) + sum(each.given for each in inlets)
        return read + sum(each.resumed for each in stages) + sum(each.resumed for each in sources)

    return activity


def _starter(starts: list[SourceStage | Inlet]) -> Callable[[Barrier], Contribution]:
    def start(barrier: Barrier) -> Contribution:
        done = Contribution()
        for each in starts:
            done.add(each.start_barrier(barrier))
        return done

    return start


def _root(error: BaseException) -> BaseException:
    """The one failure that a person has to see; the others become its notes."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves: list[BaseException] = []
    groups: list[BaseException] = [error]
    while groups:
        each = groups.pop(0)
        if isinstance(each, BaseExceptionGroup):
            groups.extend(each.exceptions)
        else:
            leaves.append(each)
    first = next((each for each in leaves if isinstance(each, PipelineError)), leaves[0])
    for each in leaves:
        if each is not first:
            with suppress(TypeError):
                first.add_note(str(each))
    return first
