"""What a pipeline compiles to: nodes with resolved types, edges, regions and stages. Plain frozen data.

Running, drawing, planning and checking all read this and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autocoder.component import Component, RunIn, Sink
from autocoder.contract import Contract
from autocoder.declaration import ChannelOptions, CommitPolicy, ErrorPolicy
from autocoder.errors import Place


@dataclass(frozen=True, slots=True)
class Node:
    """A component in its place: its instance, its ports with the types they carry here, and how it is run."""

    name: str
    use: str
    component: Component
    contract: Contract
    ins: Mapping[str, Any]
    outs: Mapping[str, Any]
    on_error: ErrorPolicy
    on_error_declared: bool
    concurrency: int
    ordered: bool
    run_in: RunIn
    place: Place
    inbox: Literal["drain", "empty"] | None = None
    """Where its messages come from outside alone: what ends them."""
    renamed_from: str | None = None
    """The name under which an earlier run kept what this component goes on with."""

    @property
    def kind(self) -> str:
        return self.contract.kind

    @property
    def needs_database(self) -> bool:
        """Whether it writes to the pipeline's own database."""
        return isinstance(self.component, Sink) and self.component.needs_database()

    @property
    def is_plain(self) -> bool:
        """Whether it is a plain function of a message, so that it may run inside its neighbour's loop."""
        return self.kind != "source" and self.run_in == "loop" and not self.contract.is_async


@dataclass(frozen=True, slots=True)
class Edge:
    """One output port feeding one input port."""

    source: str
    output: str
    target: str
    port: str
    options: ChannelOptions
    type: Any
    place: Place

    def __str__(self) -> str:
        return f"{self.source}.{self.output} -> {self.target}.{self.port}"


@dataclass(frozen=True, slots=True)
class Stage:
    """Components that run in one task: the head takes from channels, the others are fused behind it, in order."""

    head: str
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """The components joined by in-memory channels: what commits together."""

    name: str
    components: tuple[str, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A compiled pipeline; `nodes` are in topological order."""

    name: str
    description: str
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    regions: tuple[Region, ...]
    commit: CommitPolicy
    secrets: frozenset[str] = frozenset()

    def stage_of(self) -> dict[str, str]:
        """The head of the stage of each component: an edge within one stage is a call, any other a channel."""
        return {name: stage.head for region in self.regions for stage in region.stages for name in stage.components}

    def durable_ports(self, component: str) -> list[str]:
        """The inputs of a component whose channels are rows, so that messages may be sent there from outside."""
        node = self.nodes[component]
        fed = {edge.port for edge in self.edges if edge.target == component and edge.options.durable}
        return [port for port in node.ins if port in fed or node.inbox is not None]

    def payload_type(self, component: str, port: str) -> Any:
        """What a port carries: where the component itself takes anything, the one type that its producers say."""
        node = self.nodes[component]
        own = node.ins.get(port, node.outs.get(port, Any))
        carried = [edge.type for edge in self.edges if (edge.target, edge.port) == (component, port)]
        return carried[0] if own is Any and len({repr(each) for each in carried}) == 1 else own
