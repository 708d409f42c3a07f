"""Compiles a declaration into a graph, in passes that accumulate problems: every mistake is reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from autocoder.component import Component, Merger, Splitter, Transformer
from autocoder.config_model import payload_type_bindings
from autocoder.contract import OUT, Contract
from autocoder.declaration import ComponentDeclaration, Connection, ErrorPolicy, PipelineDeclaration
from autocoder.errors import AutocoderError, Problem, did_you_mean
from autocoder.graph import Edge, Graph, Node
from autocoder.partition import cycles, regions_of, topological_order
from autocoder.port import In, Out, bind, fits, substitute, type_name


@dataclass(slots=True)
class _Draft:
    """One component while it is being compiled; without a contract it is a hole that others may be connected to."""

    declared: ComponentDeclaration
    contract: Contract | None = None
    ins: Mapping[str, In[Any]] = field(default_factory=dict)
    outs: Mapping[str, Out[Any]] = field(default_factory=dict)
    in_types: dict[str, Any] = field(default_factory=dict)
    out_types: dict[str, Any] = field(default_factory=dict)

    @property
    def is_hole(self) -> bool:
        return self.contract is None or self.declared.component is None

    @property
    def inbox(self) -> Literal["drain", "empty"] | None:
        """Whether its messages are sent from outside, and what ends them."""
        component = self.declared.component
        return component.inbox_until() if isinstance(component, Transformer) else None

    @property
    def takes(self) -> Mapping[str, In[Any]] | None:
        """The inputs, None where nobody knows them: a merger's configuration decides them, and is wrong."""
        kind = self.declared.type
        decided = kind is not None and issubclass(kind, Merger) and kind.inputs is not Merger.inputs
        return None if self.contract is None or (self.is_hole and decided) else self.ins

    @property
    def gives(self) -> Mapping[str, Out[Any]] | None:
        """The outputs, None where nobody knows them: a splitter's configuration decides them, and is wrong."""
        kind = self.declared.type
        decided = kind is not None and issubclass(kind, Splitter) and kind.outputs is not Splitter.outputs
        return None if self.contract is None or (self.is_hole and decided) else self.outs


def compile_graph(declaration: PipelineDeclaration, problems: list[Problem]) -> Graph | None:
    """The graph of a declaration, or None when there are problems (those given and those found, all in `problems`)."""
    drafts = {each.name: _draft(each, problems) for each in declaration.components}
    if not drafts and not problems:  # what stands in a file may have been refused already
        problems.append(
            Problem(declaration.place, "the pipeline has no components", cure="declare at least a Source and a Sink")
        )
    _check_renames(declaration, problems)
    edges = [edge for draft in drafts.values() for edge in _connect(draft, drafts, problems)]
    if not declaration.partial:
        _check_ports(declaration, drafts, edges, problems)
    for cycle in cycles(list(drafts), [edge for edge in edges if not edge.options.durable]):
        path = " -> ".join([*cycle, cycle[0]])
        problems.append(
            Problem(
                drafts[cycle[0]].declared.place,
                "components form a cycle of in-memory channels",
                path,
                "close the loop through a durable input, `from: {port: ..., durable: true}`; it then runs until it is stopped",
            )
        )
    order = topological_order(list(drafts), edges)
    _resolve_types(order, drafts, edges, problems)
    if problems:
        return None
    nodes = {name: _node(drafts[name]) for name in order}
    typed = tuple(_with_type(edge, drafts) for edge in edges)
    return Graph(
        declaration.name,
        declaration.description,
        nodes,
        typed,
        regions_of(nodes, typed),
        declaration.commit,
        declaration.secrets,
    )


def _check_renames(declaration: PipelineDeclaration, problems: list[Problem]) -> None:
    """An old name belongs to one component, and to none that goes by it still."""
    names = {each.name for each in declaration.components}
    heirs: dict[str, str] = {}
    for each in declaration.components:
        old = each.renamed_from
        if old is None:
            continue
        what = f"component {each.name!r} cannot be renamed from {old!r}"
        if old in names:
            cure = "leave `renamed_from` out, or give the other one another name"
            problems.append(Problem(each.place, what, "a component of that name", cure))
        elif heirs.setdefault(old, each.name) != each.name:
            problems.append(Problem(each.place, what, f"{heirs[old]!r} is renamed from it, too", "decide for one"))


def _draft(declared: ComponentDeclaration, problems: list[Problem]) -> _Draft:
    draft = _Draft(declared)
    component = declared.component
    if declared.type is None:
        return draft
    try:
        draft.contract = declared.type.contract()
        draft.ins = component.inputs() if isinstance(component, Merger) else draft.contract.ins
        draft.outs = component.outputs() if isinstance(component, Splitter) else draft.contract.outs
    except (AutocoderError, TypeError, ValueError) as error:
        draft.contract = None
        problems.append(Problem(declared.place, f"component {declared.name!r} cannot be used: {error}"))
        return draft
    problems.extend(_run_problems(declared, draft.contract))
    return draft


def _run_problems(declared: ComponentDeclaration, contract: Contract) -> Iterable[Problem]:
    run_in = declared.run_in or _default(declared, "default_run_in")
    concurrency = declared.concurrency or _default(declared, "default_concurrency")

    def problem(what: str, cure: str) -> Problem:
        return Problem(declared.place, f"component {declared.name!r}: {what}", cure=cure)

    if run_in != "loop" and contract.is_async:
        yield problem(f"run_in: {run_in} is for plain `def` handlers, and this one is async", "leave run_in out")
    if run_in == "process" and (contract.kind not in ("transformer", "splitter") or contract.stateful):
        yield problem("run_in: process is for a transformer or splitter without state", "use run_in: thread")
    if run_in == "thread" and contract.kind == "merger":
        yield problem("a merger cannot run in a thread", "put the slow part into a transformer behind it")
    if concurrency > 1:
        if contract.kind not in ("transformer", "splitter") or not (contract.is_async or run_in != "loop"):
            yield problem(
                f"concurrency: {concurrency} has no effect on a {contract.kind} whose handler is a plain function",
                "make the handler async, or declare run_in: thread or process",
            )
        if contract.stateful:
            yield problem("a component with state handles one message at a time", "leave concurrency out")


def _default(declared: ComponentDeclaration, name: str) -> Any:
    return getattr(declared.type, name)


def _connect(draft: _Draft, drafts: Mapping[str, _Draft], problems: list[Problem]) -> Iterable[Edge]:
    declared, contract = draft.declared, draft.contract
    if contract is not None and contract.kind == "source" and declared.connections:
        problems.append(
            Problem(
                declared.connections[0].place,
                f"{declared.name!r} is a source and takes no input",
                cure="leave `from` out",
            )
        )
        return
    if draft.inbox is not None and declared.connections:
        problems.append(
            Problem(
                declared.connections[0].place,
                f"the messages of {declared.name!r} come from `autocoder send` alone",
                cure="leave `from` out; a message may be sent to any input that is `durable: true`, too",
            )
        )
        return
    for connection in declared.connections:
        edge = connection.source and _edge(draft, connection, drafts, problems)
        if edge:
            yield edge


def _edge(draft: _Draft, connection: Connection, drafts: Mapping[str, _Draft], problems: list[Problem]) -> Edge | None:
    name, place = draft.declared.name, connection.place
    producer = drafts.get(connection.source)
    if producer is None:
        problems.append(
            Problem(
                place,
                f"{name!r} takes from an unknown component",
                repr(connection.source),
                did_you_mean(connection.source, drafts),
            )
        )
        return None
    port = connection.port
    takes = draft.takes
    if takes is not None and port not in takes:
        problems.append(Problem(place, f"{name!r} has no input of this name", repr(port), did_you_mean(port, takes)))
        return None
    output = connection.output or _only_output(name, producer, connection, problems)
    if output is None:
        return None
    gives = producer.gives
    if gives is not None and output not in gives:
        problems.append(
            Problem(
                place,
                f"{connection.source!r} has no output of this name",
                repr(output),
                did_you_mean(output, gives) if gives else "it is a sink: nothing comes out of it",
            )
        )
        return None
    return Edge(connection.source, output, name, port, connection.options, Any, place)


def _only_output(name: str, producer: _Draft, connection: Connection, problems: list[Problem]) -> str | None:
    gives = producer.gives
    if gives is None or len(gives) == 1:
        return next(iter(gives or ()), OUT)
    if not gives:
        what, cure = f"{name!r} takes from a sink, and nothing comes out of one", "take from what feeds it"
    else:
        choices = ", ".join(f"{connection.source}.{port}" for port in gives)
        what, cure = f"{connection.source!r} has several outputs", f"name one: {choices}"
    problems.append(Problem(connection.place, what, repr(connection.source), cure))
    return None


def _check_ports(
    declaration: PipelineDeclaration, drafts: Mapping[str, _Draft], edges: Sequence[Edge], problems: list[Problem]
) -> None:
    fed = {(edge.target, edge.port) for edge in edges}
    used = {(edge.source, edge.output) for edge in edges}
    holes = any(draft.is_hole for draft in drafts.values())
    # A connection that is wrong otherwise is not reported as missing, too.
    fed |= {(each.declared.name, one.port) for each in drafts.values() for one in each.declared.connections}
    taken_from = {one.source for each in drafts.values() for one in each.declared.connections}
    hidden = "" in taken_from
    for name, draft in drafts.items():
        place = draft.declared.place
        for port in draft.ins:
            if not fed & {(name, port), (name, "")} and draft.inbox is None:
                problems.append(
                    Problem(
                        place,
                        f"input {port!r} of {name!r} is not connected",
                        cure=_feed_cure(name, port, draft, drafts),
                    )
                )
        for port in draft.outs:
            known = hidden or draft.is_hole or (len(draft.outs) == 1 and name in taken_from)
            if (name, port) not in used and not known:
                problems.append(
                    Problem(
                        place,
                        f"output {port!r} of {name!r} goes nowhere, so its messages would be lost",
                        cure=f"add a component with `from: {name}{'.' + port if len(draft.outs) > 1 else ''}` "
                        f"(flow.Discard if they are not wanted)",
                    )
                )
    kinds = {draft.contract.kind for draft in drafts.values() if draft.contract is not None}
    inboxes = any(draft.inbox is not None for draft in drafts.values())
    if drafts and not holes and "source" not in kinds and not inboxes:
        problems.append(
            Problem(declaration.place, "the pipeline has no source", cure="start it with one, such as files.ReadLines")
        )
    else:
        _check_reachable(drafts, edges, problems)


def _check_reachable(drafts: Mapping[str, _Draft], edges: Sequence[Edge], problems: list[Problem]) -> None:
    """Components that are connected, but to nothing that ever gets a message."""
    reached = {name for name, draft in drafts.items() if draft.contract is None or draft.contract.kind == "source"}
    fed = {edge.target for edge in edges}
    reached |= {name for name, draft in drafts.items() if name not in fed or "" in _sources_of(draft)}
    following: dict[str, list[str]] = {name: [] for name in drafts}
    for edge in edges:
        following[edge.source].append(edge.target)
    queue = list(reached)
    while queue:
        fresh = [target for target in following[queue.pop()] if target not in reached]
        reached.update(fresh)
        queue.extend(fresh)
    for name, draft in drafts.items():
        if name not in reached:
            problems.append(
                Problem(
                    draft.declared.place,
                    f"{name!r} is unreachable: no source leads to it",
                    cure="connect it, or take it out",
                )
            )


def _feed_cure(name: str, port: str, draft: _Draft, drafts: Mapping[str, _Draft]) -> str:
    choices = [each for each, other in drafts.items() if each != name and other.outs and name not in _sources_of(other)]
    example = choices[-1] if choices else "a_component"
    if draft.contract is not None and draft.contract.kind == "merger":
        return f"write `from: {{{port}: {example}, ...}}`"
    return f"write `from: {example}`"


def _sources_of(draft: _Draft) -> set[str]:
    return {connection.source for connection in draft.declared.connections}


def _resolve_types(
    order: Sequence[str], drafts: Mapping[str, _Draft], edges: Sequence[Edge], problems: list[Problem]
) -> None:
    """Follow the types from the sources down; a generic port takes the type that arrives."""
    into: dict[str, list[Edge]] = {name: [] for name in drafts}
    for edge in edges:
        into[edge.target].append(edge)
    for name in order:
        draft = drafts[name]
        if draft.takes is None:
            continue
        component = draft.declared.component
        bindings = payload_type_bindings(component, Component) if component is not None else {}
        arriving = [(edge, _produced(edge, drafts)) for edge in into[name]]
        for edge, produced in arriving:
            bind(draft.ins[edge.port].type, produced, bindings)
        draft.in_types = {port: substitute(each.type, bindings) for port, each in draft.ins.items()}
        draft.out_types = {port: substitute(each.type, bindings) for port, each in draft.outs.items()}
        for edge, produced in arriving:
            if not fits(produced, draft.in_types[edge.port]):
                problems.append(
                    Problem(
                        edge.place,
                        f"{edge.source}.{edge.output} does not fit {name}.{edge.port}",
                        f"{type_name(produced)} where {type_name(draft.in_types[edge.port])} is wanted",
                        "put a component between them that turns one into the other",
                    )
                )


def _produced(edge: Edge, drafts: Mapping[str, _Draft]) -> Any:
    producer = drafts[edge.source]
    return Any if producer.is_hole else producer.out_types.get(edge.output, Any)


def _with_type(edge: Edge, drafts: Mapping[str, _Draft]) -> Edge:
    return Edge(edge.source, edge.output, edge.target, edge.port, edge.options, _produced(edge, drafts), edge.place)


def _node(draft: _Draft) -> Node:
    declared, contract = draft.declared, draft.contract
    if declared.type is None or declared.component is None or contract is None:
        raise AssertionError("a hole is a problem, and a graph with problems is not built")
    kind = declared.type
    return Node(
        name=declared.name,
        use=declared.use,
        component=declared.component,
        contract=contract,
        ins=draft.in_types,
        outs=draft.out_types,
        on_error=declared.on_error or ErrorPolicy(),
        on_error_declared=declared.on_error is not None,
        concurrency=declared.concurrency or kind.default_concurrency,
        ordered=kind.default_ordered if declared.ordered is None else declared.ordered,
        run_in=declared.run_in or kind.default_run_in,
        place=declared.place,
        inbox=draft.inbox,
        renamed_from=declared.renamed_from,
    )
