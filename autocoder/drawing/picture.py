"""What there is to draw, as plain data: figures, arrows between them, and the frames around those that commit together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autocoder.graph import Edge, Graph
from autocoder.port import type_name


@dataclass(frozen=True, slots=True)
class Figure:
    """A component: its name, its kind (one of the five), and the class that it uses."""

    name: str
    kind: str
    use: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """A channel. `tail` and `head` name the ports, empty where the component has only one; `notes` say what is special."""

    source: str
    target: str
    output: str
    port: str
    type: str
    tail: str
    head: str
    notes: tuple[str, ...]
    durable: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """A region: the figures inside of it."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole pipeline; figures stand in topological order, and every figure is in exactly one frame."""

    title: str
    description: str
    figures: Mapping[str, Figure]
    arrows: tuple[Arrow, ...]
    frames: tuple[Frame, ...]


def picture_of(graph: Graph) -> Picture:
    """What there is to draw of a graph."""
    return Picture(
        graph.name,
        graph.description,
        {name: Figure(name, node.kind, node.use) for name, node in graph.nodes.items()},
        tuple(_arrow(graph, edge) for edge in graph.edges),
        tuple(Frame(region.name, region.components) for region in graph.regions),
    )


def _arrow(graph: Graph, edge: Edge) -> Arrow:
    options, notes = edge.options, []
    if options.durable:
        notes.append("durable")
    if options.on_full in ("drop_newest", "drop_oldest"):
        notes.append(options.on_full.replace("_", "s ", 1))
    if options.order == "priority":
        notes.append(f"by {options.key}")
    tail = edge.output if len(graph.nodes[edge.source].outs) > 1 else ""
    head = edge.port if len(graph.nodes[edge.target].ins) > 1 else ""
    return Arrow(
        edge.source,
        edge.target,
        edge.output,
        edge.port,
        type_name(edge.type),
        tail,
        head,
        tuple(notes),
        options.durable,
    )


def draw_json(picture: Picture) -> str:
    """The picture itself, for programs that draw on their own."""
    data: dict[str, Any] = asdict(picture)
    data["figures"] = list(data["figures"].values())
    return json.dumps(data, indent=2, ensure_ascii=False)
