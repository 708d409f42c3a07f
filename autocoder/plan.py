"""What a compiled pipeline will do, as plain data and as text: regions, tasks, ports with types, channels, policies.

Reads the graph and nothing else; knows no terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autocoder.graph import Edge, Graph, Node
from autocoder.guarantees import PathGuarantee, StateGuarantee, guarantee_lines, guarantees_of, state_guarantees
from autocoder.port import type_name
from autocoder.runtime.channel import DEFAULT_CAPACITY


@dataclass(frozen=True, slots=True)
class PlannedComponent:
    """A component in its task; types are named as a person would, durations are seconds."""

    name: str
    use: str
    kind: str
    ins: Mapping[str, str]
    outs: Mapping[str, str]
    on_error: Mapping[str, Any]
    concurrency: int
    ordered: bool
    run_in: str


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """Components that run in one task; the first takes from channels, each of the others is called by one before it."""

    components: tuple[PlannedComponent, ...]


@dataclass(frozen=True, slots=True)
class PlannedRegion:
    """What commits together."""

    name: str
    tasks: tuple[PlannedTask, ...]


@dataclass(frozen=True, slots=True)
class PlannedChannel:
    """One output port feeding one input port. `fused` is a call inside a task, which has no capacity and is never full."""

    source: str
    output: str
    target: str
    port: str
    type: str
    fused: bool
    durable: bool
    capacity: int | None
    on_full: str | None
    order: str
    key: str | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled pipeline. An epoch closes after `commit_every` seconds or `commit_messages` messages."""

    pipeline: str
    description: str
    commit_every: float
    commit_messages: int
    regions: tuple[PlannedRegion, ...]
    channels: tuple[PlannedChannel, ...]
    guarantees: tuple[PathGuarantee, ...]
    states: tuple[StateGuarantee, ...]

    def data(self) -> dict[str, Any]:
        """The plan in JSON's types."""
        promised = {
            "guarantees": [each.data() for each in self.guarantees],
            "states": [each.data() for each in self.states],
        }
        return {**asdict(self), **promised}

    def text(self) -> str:
        """The plan for a person."""
        return "\n".join(_lines(self))


def duration(seconds: float) -> str:
    """Seconds as they are written in YAML: `100ms`, `2s`, `1.5h`."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.4g}{unit}"
    return f"{seconds * 1000:.4g}ms" if seconds else "0s"


def plan_of(graph: Graph, *, kept: bool = True) -> Plan:
    """The plan of a graph; `kept` is False for a run that keeps nothing."""
    regions = tuple(
        PlannedRegion(
            region.name,
            tuple(
                PlannedTask(tuple(_component(graph.nodes[name]) for name in stage.components))
                for stage in region.stages
            ),
        )
        for region in graph.regions
    )
    stage_of = graph.stage_of()
    channels = tuple(_channel(edge, stage_of[edge.source] == stage_of[edge.target]) for edge in graph.edges)
    return Plan(
        graph.name,
        graph.description,
        graph.commit.every,
        graph.commit.messages,
        regions,
        channels,
        guarantees_of(graph, kept=kept),
        state_guarantees(graph, kept=kept),
    )


def _component(node: Node) -> PlannedComponent:
    return PlannedComponent(
        node.name,
        node.use,
        node.kind,
        _types(node.ins),
        _types(node.outs),
        _policy(node),
        node.concurrency,
        node.ordered,
        node.run_in,
    )


def _types(ports: Mapping[str, Any]) -> dict[str, str]:
    return {name: type_name(hint) for name, hint in ports.items()}


def _policy(node: Node) -> dict[str, Any]:
    policy, retry = node.on_error, node.on_error.retry
    # Of a sink that writes to the pipeline's database this is the commit's trouble, which waits.
    stops = node.kind == "sink" and not (node.on_error_declared or node.contract.transactional)
    return {
        "attempts": retry.attempts,
        "backoff": retry.backoff,
        "cap": retry.cap,
        "on": list(retry.on),
        "then": policy.then,
        "stops_on": ["OSError", "UnreachableError"] if stops else [],
    }


def _channel(edge: Edge, fused: bool) -> PlannedChannel:
    options = edge.options
    in_memory = not fused and not options.durable
    return PlannedChannel(
        edge.source,
        edge.output,
        edge.target,
        edge.port,
        type_name(edge.type),
        fused,
        options.durable,
        capacity=options.capacity or (DEFAULT_CAPACITY if in_memory else None),
        on_full=None if fused else options.on_full or "block",
        order=options.order or "fifo",
        key=options.key,
        limit=options.limit,
    )


def _lines(plan: Plan) -> Iterator[str]:
    yield f"pipeline {plan.pipeline}"
    if plan.description:
        yield from (f"  {line}" for line in plan.description.strip().splitlines())
    yield f"  commits every {duration(plan.commit_every)} or {plan.commit_messages:,} messages, whichever is first"
    for region in plan.regions:
        yield ""
        yield f"region {region.name}" + (" (commits on its own)" if len(plan.regions) > 1 else "")
        for task in region.tasks:
            yield from _task_lines(task)
    if plan.channels:
        yield ""
        yield "channels"
        ends = [f"{each.source}.{each.output} -> {each.target}.{each.port}" for each in plan.channels]
        wide, types = max(map(len, ends)), max(len(each.type) for each in plan.channels)
        for end, channel in zip(ends, plan.channels, strict=True):
            yield f"  {end.ljust(wide)}  {channel.type.ljust(types)}  {_behaviour(channel)}"
    if plan.guarantees or plan.states:
        yield ""
        yield "guarantees"
        yield from guarantee_lines(plan.guarantees, plan.states)


def _task_lines(task: PlannedTask) -> Iterator[str]:
    yield f"  task {task.components[0].name}"
    for number, each in enumerate(task.components):
        yield f"    {each.name}  {each.kind}  {each.use}" + ("  (called by the one it takes from)" if number else "")
        for way, ports in (("in", each.ins), ("out", each.outs)):
            if ports:
                yield f"      {way.ljust(8)} " + ", ".join(_port(way, *port) for port in ports.items())
        yield f"      on error {_said(each.on_error)}"
        if each.concurrency > 1:
            order = "outputs in the order of inputs" if each.ordered else "outputs as they come"
            yield f"      at once  {each.concurrency} messages, {order}"
        if each.run_in != "loop":
            yield f"      runs in  a {each.run_in} of its own"


def _port(way: str, name: str, hint: str) -> str:
    return hint if name == way else f"{name}: {hint}"


def _said(policy: Mapping[str, Any]) -> str:
    then = {"dead_letter": "dead letter", "drop": "drop the message", "stop": "stop the pipeline"}[policy["then"]]
    if policy["stops_on"]:  # as long as no policy is declared, which has one attempt and a dead letter
        return f"{then}; what the system refuses (a full disk, no connection) stops the pipeline"
    if policy["attempts"] == 1:
        return then
    pause = f"{duration(policy['backoff'])} doubling to {duration(policy['cap'])} at most"
    of = f" on {', '.join(policy['on'])}" if policy["on"] else ""
    return f"{policy['attempts']} attempts{of}, pausing {pause}; then {then}"


def _behaviour(channel: PlannedChannel) -> str:
    if channel.fused:
        return "a call, no channel"
    full = {"block": "the producer waits", "drop_newest": "drops the newest", "drop_oldest": "drops the oldest"}
    parts = ["durable" if channel.durable else "in memory"]
    if channel.durable:
        parts += [f"a backlog of {channel.limit:,} at most"] if channel.limit is not None else []
    if channel.capacity is not None:
        parts += [f"{channel.capacity:,} messages", f"when full {full[channel.on_full or 'block']}"]
    if channel.order == "priority":
        parts.append(f"lowest {channel.key} first")
    elif channel.key:
        parts.append(f"in order by {channel.key}")
    return ", ".join(parts)
