"""Cuts a graph into what runs and commits together: order, cycles, regions at durable channels, fused stages."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Final

from autocoder.declaration import ChannelOptions
from autocoder.graph import Edge, Node, Region, Stage

# A fused chain is a chain of Python calls: the interpreter bounds how deep these may nest.
MOST_FUSED: Final = 64


def topological_order(names: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """Producers before consumers, otherwise as declared. Where a loop closes, its durable edges are passed over first."""
    rank = {name: number for number, name in enumerate(names)}
    order: list[str] = []
    waiting = set(names)
    for blocking in (edges, [edge for edge in edges if not edge.options.durable], []):
        missing = dict.fromkeys(waiting, 0)
        following: dict[str, list[str]] = {name: [] for name in waiting}
        for edge in blocking:
            if edge.source in waiting and edge.target in waiting and edge.source != edge.target:
                missing[edge.target] += 1
                following[edge.source].append(edge.target)
        ready = [rank[name] for name, count in missing.items() if not count]
        heapq.heapify(ready)
        while ready:
            name = names[heapq.heappop(ready)]
            order.append(name)
            waiting.discard(name)
            for target in following[name]:
                missing[target] -= 1
                if not missing[target]:
                    heapq.heappush(ready, rank[target])
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
                    found.append(path[path.index(target) :])
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
    arriving: dict[str, list[Edge]] = {name: [] for name in nodes}
    for edge in edges:
        arriving[edge.target].append(edge)
    return tuple(Region(group[0], tuple(group), _stages(group, nodes, arriving)) for group in members.values())


def returning(edges: Sequence[Edge], region_of: Mapping[str, str]) -> list[Edge]:
    """The durable edges whose messages come back, over whatever regions, to the one that they left or never left: it cannot
    finish before what they feed does."""
    durable = [edge for edge in edges if edge.options.durable]
    found = []
    for edge in durable:
        reached, waiting = set(), [region_of[edge.target]]
        while waiting:
            region = waiting.pop()
            if region not in reached:
                reached.add(region)
                waiting += [region_of[each.target] for each in durable if region_of[each.source] == region]
        if region_of[edge.source] in reached:
            found.append(edge)
    return found


def _stages(
    members: Sequence[str], nodes: Mapping[str, Node], arriving: Mapping[str, Sequence[Edge]]
) -> tuple[Stage, ...]:
    """Each component that cannot be fused heads a stage; the others run behind what feeds them."""
    stages: dict[str, list[str]] = {}
    head_of: dict[str, str] = {}
    for name in members:
        head = name
        if len(arriving[name]) == 1 and _fuses(arriving[name][0], nodes):
            behind = head_of[arriving[name][0].source]
            head = behind if len(stages[behind]) < MOST_FUSED else name
        head_of[name] = head
        stages.setdefault(head, []).append(name)
    return tuple(Stage(head, tuple(components)) for head, components in stages.items())


def _fuses(edge: Edge, nodes: Mapping[str, Node]) -> bool:
    """A plain component with a single input runs in its producer's task, unless the user asked for a channel of its own.

    A source keeps its own task, so that it reads on while its messages are processed and a barrier may start any time.
    """
    if edge.options != ChannelOptions() or nodes[edge.source].kind == "source":
        return False
    return nodes[edge.target].is_plain and nodes[edge.target].kind != "merger"
