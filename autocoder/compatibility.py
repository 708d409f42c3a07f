"""Whether a graph may go on with what an earlier one has left in the store: judged in the transaction that takes ownership.

Judged is only what is there. New components, another configuration, and components that are gone and left nothing behind
are all compatible. Not compatible is a component with state, a position or waiting messages that is gone (unless another
one says `renamed_from`), or whose kind, version, state or port has changed so that what is stored would be read wrongly, or
by nobody. A type whose name is the same and whose fields have changed is judged by the stored values themselves: they must
be readable as the new type.

Dead letters and completed messages hinder nothing. One that is replayed to a port of another type becomes a dead letter
again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.codec import Codec
from autocoder.errors import ConfigurationError, Problem, count
from autocoder.fingerprint import fingerprint_of, state_types
from autocoder.graph import Graph, Node
from autocoder.store.epoch import RUNTIME_STATE
from autocoder.store.fingerprints import read_fingerprint, write_fingerprint
from autocoder.store.tables import IS_ON_CHANNEL, IS_OPEN, checkpoints, component_state, port_messages

MOST_READ: Final = 10_000
"""So many stored values of a changed type are read as the new one, of each state and port; the rest when they are needed."""
PAGE: Final = 500
FORGET: Final = "or run it once with --restart, which forgets state, positions and messages under way"


class IncompatibleError(ConfigurationError):
    """The pipeline was changed so that it cannot go on with what the database holds of it; nothing was touched."""

    headline = "the pipeline cannot go on with what the database holds of it"


@dataclass(slots=True)
class _Left:
    """What one component has left in the store: numbers of rows, zero until somebody is told (see `_counted`)."""

    states: dict[str, int] = field(default_factory=dict)
    position: bool = False
    waiting: dict[str, int] = field(default_factory=dict)
    """Messages by port."""
    channel: dict[str, int] = field(default_factory=dict)
    """Those of them that stand on a durable channel, and not in the component itself."""

    def __str__(self) -> str:
        parts = [f"{count(number, 'value')} of state {name!r}" for name, number in self.states.items()]
        parts += ["the position of the source"] if self.position else []
        parts += [f"{count(number, 'message')} waiting at port {port!r}" for port, number in self.waiting.items()]
        return ", ".join(parts)


Step = Callable[[AsyncConnection], Awaitable[None]]


def admission(graph: Graph, *, forget: Step | None = None) -> Step:
    """What has to happen in the transaction that takes ownership before a graph is run.

    It moves the rows of renamed components, raises IncompatibleError, and keeps the fingerprint. With `forget`, which then has
    to delete what is kept, nothing is judged.
    """

    async def admit(connection: AsyncConnection) -> None:
        if forget is not None:
            await forget(connection)
        else:
            before = await read_fingerprint(connection, graph.name)
            before, left = await _rename(connection, graph, before)
            if await _judge(connection, graph, before, left):
                left = await _counted(connection, graph.name, left)
                raise IncompatibleError(await _judge(connection, graph, before, left))
        await write_fingerprint(connection, graph.name, fingerprint_of(graph))

    return admit


async def _rename(
    connection: AsyncConnection, graph: Graph, before: dict[str, dict[str, Any]]
) -> tuple[dict[str, dict[str, Any]], dict[str, _Left]]:
    """Give the rows of renamed components their new names; a rename that was done already finds none.

    Returns the fingerprint under the new names, and what every component has left.
    """
    left = await _left(connection, graph.name)
    renamed = False
    for node in graph.nodes.values():
        old = node.renamed_from
        if old is None or old in graph.nodes:
            continue
        if old in left and node.name in left:
            what = f"{node.name!r} is renamed from {old!r}, but both have something stored"
            left = await _counted(connection, graph.name, left)
            found = f"{old!r} has {left[old]}; {node.name!r} has {left[node.name]}"
            raise IncompatibleError([Problem(node.place, what, found, f"leave `renamed_from` out {FORGET}")])
        # There is no index for all rows of a component: they are searched only where the name is known.
        if old not in before and old not in left and not await _has_dead_letters(connection, graph.name, old):
            continue
        renamed = True
        for column in (
            component_state.c.component_name,
            checkpoints.c.component_name,
            port_messages.c.target_component,
            port_messages.c.source_component,
        ):
            mine = [column.table.c.pipeline == graph.name, column == old]
            if column.table is checkpoints:
                mine.append(checkpoints.c.checkpoint_name == "")
            await connection.execute(sa.update(column.table).where(*mine).values({column.name: node.name}))
        if old in before:
            before = {**before, node.name: before[old]}
            del before[old]
    return before, await _left(connection, graph.name) if renamed else left


async def _has_dead_letters(connection: AsyncConnection, pipeline: str, component: str) -> bool:
    table = port_messages.c
    dead = table.status == sa.literal_column("'dead_letter'")
    one = sa.select(table.seq).where(table.pipeline == pipeline, table.target_component == component, dead).limit(1)
    return (await connection.execute(one)).first() is not None


async def _judge(
    connection: AsyncConnection, graph: Graph, before: Mapping[str, Mapping[str, Any]], found: Mapping[str, _Left]
) -> list[Problem]:
    after = fingerprint_of(graph)
    problems: list[Problem] = []
    for name, left in found.items():
        node = graph.nodes.get(name)
        if node is None:
            problems.append(_gone(graph, name, left))
            continue
        was, now = before.get(name, {}), after[name]
        problems += _changed_class(node, left, was, now)
        problems += _gone_parts(node, left, now)
        problems += await _changed_types(connection, graph, node, left, was, now)
    return problems


async def _left(connection: AsyncConnection, pipeline: str) -> dict[str, _Left]:
    """What every component has left in the store, those with nothing left out. Nothing is counted: that reads every row."""
    found: dict[str, _Left] = {}
    state, table = component_state.c, port_messages.c
    kept = (state.pipeline == pipeline, state.state_name > RUNTIME_STATE)
    for component, name in await connection.execute(_pairs(state.component_name, state.state_name, *kept)):
        found.setdefault(component, _Left()).states[name] = 0
    sources = sa.select(checkpoints.c.component_name).where(
        checkpoints.c.pipeline == pipeline, checkpoints.c.checkpoint_name == ""
    )
    for (component,) in await connection.execute(sources):
        found.setdefault(component, _Left()).position = True
    ports = (table.target_component, table.port_name)
    for component, port in await connection.execute(_pairs(*ports, table.pipeline == pipeline, IS_ON_CHANNEL)):
        left = found.setdefault(component, _Left())
        left.waiting[port] = left.channel[port] = 0
    parked = sa.select(*ports).where(table.pipeline == pipeline, IS_OPEN).distinct()
    for component, port in await connection.execute(parked):
        found.setdefault(component, _Left()).waiting[port] = 0
    return found


def _pairs(first: sa.Column[str], second: sa.Column[str], *mine: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The different pairs of two columns, in leaps from one to the next: an index that holds both is not read through."""

    def least(column: sa.Column[str], of: sa.CTE, *conditions: sa.ColumnElement[bool]) -> sa.Label[str]:
        query = sa.select(sa.func.min(column)).where(*mine, *conditions).correlate(of)
        return query.scalar_subquery().label(column.name)

    outer = sa.select(sa.func.min(first).label("found")).where(*mine).cte("outer_names", recursive=True)
    outer = outer.union_all(sa.select(least(first, outer, first > outer.c.found)).where(outer.c.found.is_not(None)))
    start = sa.select(outer.c.found.label("one"), least(second, outer, first == outer.c.found).label("other"))
    both = start.where(outer.c.found.is_not(None)).cte("both_names", recursive=True)
    behind = least(second, both, first == both.c.one, second > both.c.other)
    both = both.union_all(sa.select(both.c.one, behind).where(both.c.other.is_not(None)))
    return sa.select(both.c.one, both.c.other).where(both.c.other.is_not(None))


async def _counted(connection: AsyncConnection, pipeline: str, found: Mapping[str, _Left]) -> dict[str, _Left]:
    """The same with numbers, for a person to read."""

    async def number(table: sa.Table, *mine: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(table).where(table.c.pipeline == pipeline, *mine)
        return int((await connection.execute(query)).scalar_one())

    counted: dict[str, _Left] = {}
    for component, left in found.items():
        told = counted[component] = _Left(position=left.position)
        for name in left.states:
            mine = (component_state.c.component_name == component, component_state.c.state_name == name)
            told.states[name] = await number(component_state, *mine)
        for port in left.waiting:
            here = (port_messages.c.target_component == component, port_messages.c.port_name == port)
            on_channel = await number(port_messages, *here, IS_ON_CHANNEL)
            told.waiting[port] = on_channel + await number(port_messages, *here, IS_OPEN)
            if on_channel:
                told.channel[port] = on_channel
    return counted


def _gone(graph: Graph, name: str, left: _Left) -> Problem:
    place = replace(next(iter(graph.nodes.values())).place, line=0, column=0)
    cure = f"put it back; or write `renamed_from: {name}` at the component that took its place; {FORGET}"
    return Problem(place, f"component {name!r} is gone, and has left something behind", str(left), cure)


def _changed_class(node: Node, left: _Left, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[Problem]:
    if was and was["kind"] != now["kind"]:
        yield _problem(node, f"was a {was['kind']} and is a {now['kind']}", str(left), "give the new one another name")
        return
    if was and left.position and was["class"] != now["class"]:
        what = f"was {was['use']} and is {now['use']}, which cannot go on at the position of the other"
        yield _problem(node, what, "the position of the source", f"put {was['use']} back")
    if was and was["version"] != now["version"] and (left.states or left.position):
        what = f"{now['use']} has version {now['version']!r}, and what is stored is of version {was['version']!r}"
        yield _problem(node, what, str(left), "use the version before")


def _gone_parts(node: Node, left: _Left, now: Mapping[str, Any]) -> Iterable[Problem]:
    """States and ports that have something stored and that the component does not have any more."""
    for state, number in left.states.items():
        if state not in now["state"]:
            yield _problem(
                node, f"has no state {state!r} any more", f"{count(number, 'value')} of it", "declare it again"
            )
    if left.position and node.kind != "source":
        yield _problem(node, f"is a {node.kind}", "the position of a source", "give it another name")
    for port, number in left.waiting.items():
        if port not in now["ports"]:
            yield _problem(
                node, f"has no port {port!r} any more", f"{count(number, 'message')} waiting there", "put it back"
            )
    for port, number in left.channel.items():
        if port in now["ports"] and port not in now["durable"]:
            what = f"takes {port!r} from a channel in memory now, and messages of the durable one are left"
            yield _problem(node, what, count(number, "message"), "leave it `durable: true` until a run has emptied it")


async def _changed_types(
    connection: AsyncConnection,
    graph: Graph,
    node: Node,
    left: _Left,
    was: Mapping[str, Any],
    now: Mapping[str, Any],
) -> list[Problem]:
    problems: list[Problem] = []
    types = state_types(node)
    for state in left.states:
        old, new = was.get("state", {}).get(state), now["state"].get(state)
        if old is None or new is None or old == new:
            continue
        if (old["scope"], old["type"]) != (new["scope"], new["type"]):
            what = f"state {state!r} was {old['scope']} {old['type']} and is {new['scope']} {new['type']}"
            problems.append(_problem(node, what, count(left.states[state], "value"), "give the new state another name"))
            continue
        table = component_state.c
        query = sa.select(table.state_key, table.state_data).where(
            table.pipeline == graph.name, table.component_name == node.name, table.state_name == state
        )
        unread = await _unreadable(connection, query, table.state_key, Codec(types[state]))
        if unread is not None:
            what = f"the fields of {new['type']} in state {state!r} have changed, and stored values do not fit them"
            problems.append(_problem(node, what, unread, "give new fields a default, or take the change back"))
    for port in left.waiting:
        old, new = was.get("ports", {}).get(port), now["ports"].get(port)
        if old is None or new is None or old == new:
            continue
        if old["type"] != new["type"]:
            what = f"port {port!r} carried {old['type']} and carries {new['type']}"
            cure = "let a run of the version before empty it"
            problems.append(_problem(node, what, f"{count(left.waiting[port], 'message')} waiting there", cure))
            continue
        messages = port_messages.c
        query = sa.select(messages.seq, messages.message_data).where(
            messages.pipeline == graph.name, messages.target_component == node.name, messages.port_name == port
        )
        codec = Codec(graph.payload_type(node.name, port))
        unread = await _unreadable(connection, query.where(IS_ON_CHANNEL), messages.seq, codec)
        unread = unread or await _unreadable(connection, query.where(IS_OPEN), messages.seq, codec)
        if unread is not None:
            what = f"the fields of {new['type']} at port {port!r} have changed, and waiting messages do not fit them"
            problems.append(_problem(node, what, unread, "give new fields a default, or take the change back"))
    return problems


async def _unreadable(
    connection: AsyncConnection, query: sa.Select[Any], key: sa.ColumnElement[Any], codec: Codec
) -> str | None:
    """What is wrong with the first stored value that is not of a type; of the values nothing is told."""
    after: Any = None
    for _ in range(MOST_READ // PAGE):
        page = query if after is None else query.where(key > after)
        rows: Sequence[Any] = (await connection.execute(page.order_by(key).limit(PAGE))).all()
        for _key, data in rows:
            try:
                codec.decode(data or "")
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False, include_context=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                return f"{where}: {first['type']}" if where else str(first["type"])
            except ValueError:
                return "a value that cannot be read"
        if len(rows) < PAGE:
            return None
        after = rows[-1][0]
    return None


def _problem(node: Node, what: str, found: str, cure: str) -> Problem:
    return Problem(node.place, f"component {node.name!r}: {what}", found, f"{cure}; {FORGET}")
