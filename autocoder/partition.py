"""Cuts a graph into what runs and commits together: order, cycles, regions at durable channels, fused stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autocoder.declaration import ChannelOptions
from autocoder.graph import Edge, Node, Region, Stage


def topological_order(names: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """Producers before consumers, otherwise as declared. Where a loop closes, its durable edges are passed over first."""
    waiting = list(names)
    order: list[str] = []
    placed: set[str] = set()
    for blocking in (edges, [edge for edge in edges if not edge.options.durable], []):
        progress = True
        while progress:
            ready = [
                name for name in waiting
                if all(edge.source in placed for edge in blocking if edge.target == name and edge.source != name)
            ]
            progress = bool(ready)
            order.extend(ready)
            placed.update(ready)
            waiting = [name for name in waiting if name not in placed]
    return order


def cycles(names: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """One cycle for each knot of components that feed each other, each as a path of names."""
    following: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        following[edge.source].append(edge.target)
    found: list[list[str]] = []
    state: dict[str, int] = {}
    for start in names:
        path: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)] if start not in state else []
        while stack:
            name, at = stack.pop()
            if at == 0:
                state[name] = 1
                path.append(name)
            if at < len(following[name]):
                stack.append((name, at + 1))
                target = following[name][at]
                if state.get(target) == 1:
                    found.append(path[path.index(target):])
                elif target not in state:
                    stack.append((target, 0))
            else:
                state[name] = 2
                path.pop()
    return found


def regions_of(nodes: Mapping[str, Node], edges: Sequence[Edge]) -> tuple[Region, ...]:
    """The regions, in topological order of their first component."""
    group = {name: name for name in nodes}

    def root(name: str) -> str:
        while group[name] != name:
            group[name] = group[group[name]]
            name = group[name]
        return name

    for edge in edges:
        if not edge.options.durable:
            group[root(edge.target)] = root(edge.source)
    members: dict[str, list[str]] = {}
    for name in nodes:
        members.setdefault(root(name), []).append(name)
    return tuple(Region(group[0], tuple(group), _stages(group, nodes, edges)) for group in members.values())


def _stages(members: Sequence[str], nodes: Mapping[str, Node], edges: Sequence[Edge]) -> tuple[Stage, ...]:
    """Each component that cannot be fused heads a stage; the others run behind what feeds them."""
    stages: dict[str, list[str]] = {}
    head_of: dict[str, str] = {}
    for name in members:
        arriving = [edge for edge in edges if edge.target == name]
        if len(arriving) == 1 and _fuses(arriving[0], nodes):
            head_of[name] = head_of[arriving[0].source]
            stages[head_of[name]].append(name)
        else:
            head_of[name] = name
            stages[name] = [name]
    return tuple(Stage(head, tuple(components)) for head, components in stages.items())


def _fuses(edge: Edge, nodes: Mapping[str, Node]) -> bool:
    """A plain component with a single input runs in its producer's task, unless the user asked for a channel of its own.

    A source keeps its own task, so that it reads on while its messages are processed and a barrier may start any time.
    """
    if edge.options != ChannelOptions() or nodes[edge.source].kind == "source":
        return False
    return nodes[edge.target].is_plain and nodes[edge.target].kind != "merger"
