"""What a compiled pipeline promises of its messages, path by path from source to sink, derived from the graph alone.

An epoch is one transaction, and everything follows from what is inside it and what is not. Inside are positions, state,
durable channels and the rows of the pipeline's own database: exactly once. A sink that writes elsewhere does so before the
commit, so a crash in between makes it write again: at least once, unless its receiver knows what it has already. A source
that cannot read again loses what had not been committed: at most once, up to where its messages first become rows.

A receiver that tells repeats by idempotency keys needs the keys to be the same when a message comes again. They are made of
where its input stood, so whatever depends on when things happened to be there (how the batches of a source or of a
vectorised component were cut, which input of a merger came first) changes them, until a durable channel makes rows of the
messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from autocoder.component import Sink, Source
from autocoder.errors import Problem
from autocoder.graph import Edge, Graph, Node

KEEP: Final = "run it with a database (without --in-memory; in Python: run(database=...))"


class Guarantee(IntEnum):
    """How often the effect of a message is there in the end, whatever crashed meanwhile; the weakest first."""

    AT_MOST_ONCE = 1
    AT_LEAST_ONCE = 2
    EFFECTIVELY_ONCE = 3
    EXACTLY_ONCE = 4

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a path over which one guarantee holds, and what would have to change for a better one (None: nothing)."""

    start: str
    end: str
    guarantee: Guarantee
    why: str
    better: str | None


@dataclass(frozen=True, slots=True)
class PathGuarantee:
    """A path from a source (or an inbox) to a sink: one leg, or two where the messages become rows on their way.

    `components` are those of the path; of several paths between the same two ends that differ in their guarantee, each is
    there once.
    """

    source: str
    sink: str
    components: tuple[str, ...]
    legs: tuple[Leg, ...]

    @property
    def guarantee(self) -> Guarantee:
        """The weakest of the legs."""
        return min(leg.guarantee for leg in self.legs)

    def data(self) -> dict[str, Any]:
        """In JSON's types; guarantees as words."""
        return {
            "source": self.source,
            "sink": self.sink,
            "components": list(self.components),
            "guarantee": str(self.guarantee),
            "legs": [
                {
                    "start": leg.start,
                    "end": leg.end,
                    "guarantee": str(leg.guarantee),
                    "why": leg.why,
                    "better": leg.better,
                }
                for leg in self.legs
            ],
        }


@dataclass(frozen=True, slots=True)
class StateGuarantee:
    """How often each message counts in the state of a component."""

    component: str
    guarantee: Guarantee
    why: str

    def data(self) -> dict[str, Any]:
        """In JSON's types."""
        return {"component": self.component, "guarantee": str(self.guarantee), "why": self.why}


@dataclass(frozen=True, slots=True)
class _Route:
    """A way from a source to a component: where its messages first became rows, and which channel may drop them.

    `rekeys` is the component behind the last durable channel from which on a message that comes again may have another key.
    """

    components: tuple[str, ...]
    durable: Edge | None = None
    drops: Edge | None = None
    rekeys: Node | None = None

    def along(self, edge: Edge, target: Node) -> _Route:
        lossy = edge.options.on_full in ("drop_newest", "drop_oldest")
        rekeys = None if edge.options.durable else self.rekeys
        return _Route(
            (*self.components, edge.target),
            self.durable or (edge if edge.options.durable else None),
            self.drops or (edge if lossy else None),
            rekeys or (target if _rekeys(target) else None),
        )


def guarantees_of(graph: Graph, *, kept: bool = True) -> tuple[PathGuarantee, ...]:
    """The guarantee of each path from a source or inbox to a sink; `kept` is False for a run that keeps nothing."""
    return tuple(
        PathGuarantee(start, end, route.components, _legs(graph, route, kept=kept))
        for start, routes in _routes(graph).items()
        for end, ways in routes.items()
        if graph.nodes[end].kind == "sink"
        for route in ways
    )


def state_guarantees(graph: Graph, *, kept: bool = True) -> tuple[StateGuarantee, ...]:
    """The guarantee of the state of each component that declares some of its own (how far a sink wrote is not meant)."""
    routes = _routes(graph)
    found = []
    for node in graph.nodes.values():
        if not node.contract.stateful or node.kind in ("source", "sink"):
            continue
        arriving = [way for start in routes for way in routes[start].get(node.name, ())]
        losing = next((way for way in arriving if _loses(graph, way)), None)
        if not kept:
            found.append(StateGuarantee(node.name, Guarantee.AT_MOST_ONCE, "nothing is kept beyond the run"))
        elif losing is not None:
            why = f"a message of {losing.components[0]!r} may be lost before it gets there"
            found.append(StateGuarantee(node.name, Guarantee.AT_MOST_ONCE, why))
        else:
            why = "it is committed together with what the messages came from"
            found.append(StateGuarantee(node.name, Guarantee.EXACTLY_ONCE, why))
    return tuple(found)


def loss_warnings(graph: Graph) -> list[Problem]:
    """A warning for each source that cannot read again what a crash loses."""
    return [
        Problem(
            node.place,
            f"source {node.name!r} ({node.use}) cannot read again what was under way in a crash, so its messages are "
            f"handled at most once until the first durable channel",
            cure=_replay_cure(graph, node.name),
        )
        for node in graph.nodes.values()
        if not _replays(node)
    ]


def _replay_cure(graph: Graph, source: str) -> str:
    behind = [edge for edge in graph.edges if edge.source == source]
    if behind and all(edge.options.durable for edge in behind):
        return "what it has read becomes rows at once; only what was not committed is at risk"
    return (
        f"take from it with `from: {{port: {source}, durable: true}}`, so that as little as possible is at risk; or use a "
        f"source that can be read again"
    )


def _replays(node: Node) -> bool:
    return not isinstance(node.component, Source) or node.component.replayable


def _rekeys(node: Node) -> bool:
    """Whether what it gives may have other idempotency keys when it gives it again.

    A vectorised component gives the keys on where it gives as many as it takes, which cannot be known before. A merger with
    state gives what it waited for under the key of what came last.
    """
    if isinstance(node.component, Source):
        return not node.component.repeats_batches()
    if node.kind == "sink":
        return False
    return node.contract.batch is not None or (node.kind == "merger" and node.contract.stateful)


def _loses(graph: Graph, route: _Route) -> bool:
    """Whether a message may be lost on a route before its end."""
    start = graph.nodes[route.components[0]]
    return route.drops is not None or (not _replays(start) and route.durable is None)


def _routes(graph: Graph) -> dict[str, dict[str, list[_Route]]]:
    """The routes from each source and inbox to every component; of those that promise the same, one.

    What a route promises depends on its first durable channel and on whether it drops, so there are few, however many ways
    lead through the graph.
    """
    following: dict[str, list[Edge]] = {name: [] for name in graph.nodes}
    for edge in graph.edges:
        following[edge.source].append(edge)
    found: dict[str, dict[str, list[_Route]]] = {}
    for node in graph.nodes.values():
        if node.kind != "source" and node.inbox is None:
            continue
        known: dict[tuple[str, bool, bool, bool], _Route] = {}
        waiting = [_Route((node.name,), rekeys=node if _rekeys(node) else None)]
        while waiting:
            route = waiting.pop(0)
            key = (
                route.components[-1],
                route.durable is not None,
                route.drops is not None,
                route.rekeys is not None,
            )
            if key in known:
                continue
            known[key] = route
            waiting += [route.along(edge, graph.nodes[edge.target]) for edge in following[route.components[-1]]]
        found[node.name] = {}
        for (end, *_), route in known.items():
            found[node.name].setdefault(end, []).append(route)
    return {start: _only_different(graph, ends) for start, ends in found.items()}


def _only_different(graph: Graph, ends: dict[str, list[_Route]]) -> dict[str, list[_Route]]:
    """Where messages become rows is of no interest behind a source that replays, and a key only where it is given on."""
    different: dict[str, list[_Route]] = {}
    for end, routes in ends.items():
        seen: set[tuple[bool, bool, bool]] = set()
        keys = graph.nodes[end].contract.wants_keys
        for route in routes:
            replays = _replays(graph.nodes[route.components[0]])
            promise = (
                route.drops is not None,
                replays or route.durable is not None,
                keys and route.rekeys is not None,
            )
            if promise not in seen:
                seen.add(promise)
                different.setdefault(end, []).append(route)
    return different


def _legs(graph: Graph, route: _Route, *, kept: bool) -> tuple[Leg, ...]:
    start, end = graph.nodes[route.components[0]], graph.nodes[route.components[-1]]
    if not kept:
        why = "nothing is kept: a crash loses what is under way, and where it stopped"
        return (Leg(start.name, end.name, Guarantee.AT_MOST_ONCE, why, KEEP),)
    risks: list[tuple[int, str, str]] = []
    if route.drops is not None:
        at = route.components.index(route.drops.target)
        why = f"the channel {route.drops} drops messages when it is full"
        cure = f"leave out `on_full: {route.drops.options.on_full}`, so that the producer waits"
        risks.append((at, why, cure))
    if not _replays(start):
        at = len(route.components) if route.durable is None else route.components.index(route.durable.target)
        why = f"{start.name!r} cannot read again what was under way in a crash"
        risks.append((at, why, _durable_cure(start, route)))
    if not risks:
        return (_last_leg(start.name, end, route),)
    at, why = max(risk[0] for risk in risks), "; ".join(risk[1] for risk in risks)
    better = "; ".join(risk[2] for risk in risks)
    if at >= len(route.components):
        return (Leg(start.name, end.name, Guarantee.AT_MOST_ONCE, why, better),)
    return (
        Leg(start.name, route.components[at], Guarantee.AT_MOST_ONCE, why, better),
        _last_leg(route.components[at], end, route),
    )


def _durable_cure(start: Node, route: _Route) -> str:
    cure = "a source that can be read again"
    if route.durable is None or route.durable.source != start.name:
        cure += f"; or make the channel directly behind {start.name!r} durable, so that little is at risk"
    return cure


def _last_leg(start: str, node: Node, route: _Route) -> Leg:
    """From where a message is safe to its sink."""
    guarantee, why, better = _of_sink(node, route.rekeys)
    return Leg(start, node.name, guarantee, why, better)


def _of_sink(node: Node, rekeys: Node | None) -> tuple[Guarantee, str, str | None]:
    sink = node.component
    if not isinstance(sink, Sink):
        raise TypeError(f"{node.name!r} is a {node.kind}, and a path ends with a sink")
    if node.needs_database:
        return Guarantee.EXACTLY_ONCE, "its rows are committed together with what the messages came from", None
    if sink.resumes and node.contract.stateful:
        why = "how far it wrote is committed with the messages, and it goes on there: once in what it publishes"
        return Guarantee.EXACTLY_ONCE, why, None
    if sink.absorbs_repeats() and node.contract.wants_keys and rekeys is not None:
        return (
            Guarantee.AT_LEAST_ONCE,
            f"what was under way in a crash is written again, perhaps under another key: {_why_other_keys(rekeys)}",
            f"take from {rekeys.name!r} with `durable: true`, so that its messages are rows and keep their keys; or a sink in "
            f"the pipeline's own database, such as sql.Insert without `database`",
        )
    if sink.absorbs_repeats():
        return (
            Guarantee.EFFECTIVELY_ONCE,
            "what was under way in a crash is written again, and the receiver tells it by its key",
            "a sink in the pipeline's own database, such as sql.Insert without `database`, makes it exactly once",
        )
    return (
        Guarantee.AT_LEAST_ONCE,
        "what was under way in a crash is written again, and the receiver cannot tell",
        f"{_nearest_cure(node)}; or a sink in the pipeline's own database, such as sql.Insert without `database`",
    )


def _why_other_keys(node: Node) -> str:
    if node.kind == "source":
        return f"how the batches of {node.name!r} are cut depends on when it reads"
    if node.kind == "merger":
        return f"what {node.name!r} puts together has the key of what came last"
    return f"the keys behind {node.name!r}, which takes many messages at once, depend on how many there were"


def _nearest_cure(node: Node) -> str:
    if node.contract.transactional:
        return "let the receiver know its rows by a key (sql.Insert: `key`)"
    if node.contract.wants_keys:
        return "send each message by itself, so that it keeps its key"
    return "a sink with `write(batch, keys)` whose receiver remembers the keys"


def guarantee_lines(paths: Iterable[PathGuarantee], states: Iterable[StateGuarantee]) -> list[str]:
    """The guarantees for a person."""
    lines: list[str] = []
    for path in paths:
        lines.append(f"  {' -> '.join(path.components)}")
        for leg in path.legs:
            until = ""
            if len(path.legs) > 1:
                until = f"until {leg.end} " if leg is path.legs[0] else f"from {leg.start} on "
            lines.append(f"    {until}{leg.guarantee}: {leg.why}")
            if leg.better is not None:
                lines.append(f"      better: {leg.better}")
    lines += [f"  state of {each.component}\n    {each.guarantee}: {each.why}" for each in states]
    return lines
