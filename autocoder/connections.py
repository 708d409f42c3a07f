"""Reads what feeds a component: `from: a`, `a.port`, lists of those, channel options, and the input map of a Merger."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from autocoder.component import Component
from autocoder.contract import IN
from autocoder.declaration import ChannelOptions, Connection
from autocoder.errors import Place
from autocoder.reading import NAME, Reader, is_unresolved
from autocoder.yaml_document import Entry, MappingNode, Node, ScalarNode, SequenceNode, show

CHANNEL_KEYS: Final = ("port", "durable", "capacity", "on_full", "order", "key", "limit")
ON_FULL: Final = ("block", "drop_newest", "drop_oldest")
ORDER: Final = ("fifo", "priority")
_FORMS: Final = "write a component, component.port, a list of those, or {port: component.port, durable: true}"


def read_connections(reader: Reader, entry: Entry | None, kind: type[Component] | None) -> tuple[Connection, ...]:
    """The connections of one component's `from`, holes where it is wrong; `kind` is its class, None if that is not known."""
    if entry is None:
        return ()
    node = entry.value
    if is_unresolved(node):
        return (hole(node.place),)
    if _is_input_map(node, kind):
        assert isinstance(node, MappingNode)  # noqa: S101  what an input map is
        return tuple(each for port in node for each in _feeds(reader, port.value, port.key))
    if kind is not None and kind.kind == "merger":
        reader.refuse(
            node.place, "from: a Merger takes a map from its inputs to what feeds them", show(node), _inputs_cure(kind)
        )
        return (hole(node.place),)
    return tuple(_feeds(reader, node, IN))


def hole(place: Place, port: str = "") -> Connection:
    """What feeds a port, or all of them, without being known; why was reported."""
    return Connection(port, "", place=place)


def _is_input_map(node: Node, kind: type[Component] | None) -> bool:
    if not isinstance(node, MappingNode):
        return False
    if kind is not None:
        return kind.kind == "merger"
    return not any(each.key in CHANNEL_KEYS for each in node)


def _inputs_cure(kind: Any) -> str:
    names = list(kind.contract().ins) or ["input"]
    return f"write from: {{{', '.join(f'{name}: component' for name in names)}}}"


def _feeds(reader: Reader, node: Node, port: str) -> list[Connection]:
    """The connections that one input has, each named at most once."""
    items = node.items if isinstance(node, SequenceNode) else (node,)
    if not items:
        reader.refuse(node.place, "from: an empty list feeds nothing", cure="name a component, or leave `from` out")
        return [hole(node.place, port)]
    found: dict[tuple[str, str | None], Connection] = {}
    for item in items:
        for each in _feed(reader, item, port):
            if each.source and (each.source, each.output) in found:
                shown = f"{each.source}.{each.output}" if each.output else each.source
                reader.refuse(
                    each.place, f"from: {shown} is named twice for one input", cure="each message would arrive twice"
                )
            found[each.source, each.output] = each
    return list(found.values())


def _feed(reader: Reader, node: Node, port: str) -> list[Connection]:
    if not isinstance(node, MappingNode):
        return [_reference(reader, node, port, ChannelOptions())]
    entries = reader.keys(node, CHANNEL_KEYS, "from")
    options = _options(reader, entries)
    target = entries.get("port")
    if target is None:
        if all(each.key in CHANNEL_KEYS for each in node):
            reader.refuse(node.place, "from: `port` is missing", cure=_FORMS)
        return [hole(node.place, port)]
    items = target.value.items if isinstance(target.value, SequenceNode) else (target.value,)
    return [_reference(reader, item, port, options) for item in items]


def _reference(reader: Reader, node: Node, port: str, options: ChannelOptions) -> Connection:
    if is_unresolved(node):
        return hole(node.place, port)
    text = node.value if isinstance(node, ScalarNode) else None
    if not isinstance(text, str) or not text.strip():
        reader.refuse(node.place, "from: this names no component", show(node), _FORMS)
        return hole(node.place, port)
    source, dot, output = text.strip().partition(".")
    if not NAME.fullmatch(source) or (dot and not NAME.fullmatch(output)):
        reader.refuse(node.place, "from: this is no component and no component.port", show(node), _FORMS)
        return hole(node.place, port)
    return Connection(port, source, output or None, options, node.place)


def _options(reader: Reader, entries: dict[str, Entry]) -> ChannelOptions:
    durable = reader.boolean(entries.get("durable"))
    order, key = reader.choice(entries.get("order"), ORDER), reader.text(entries.get("key"))
    limit, capacity = reader.integer(entries.get("limit")), reader.integer(entries.get("capacity"))
    on_full = reader.choice(entries.get("on_full"), ON_FULL)
    if "limit" in entries and (durable is False or "durable" not in entries):
        reader.refuse(
            entries["limit"].place,
            "limit: bounds the backlog of a durable channel",
            cure="add durable: true, or use capacity",
        )
    if order == "priority" and "key" not in entries:
        reader.refuse(entries["order"].place, "order: priority needs a key", cure="name the payload's field: key: ...")
    return ChannelOptions(
        durable=bool(durable),
        capacity=capacity,
        on_full=cast("Literal['block', 'drop_newest', 'drop_oldest'] | None", on_full),
        order=cast("Literal['fifo', 'priority'] | None", order),
        key=key,
        limit=limit,
    )
