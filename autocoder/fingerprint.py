"""What is kept of a pipeline's graph, to tell later whether another one may go on with what it left behind.

Plain data in JSON's types, made from the graph alone: class, kind, version, ports and states with their types, and which
inputs are durable. Configuration is no part of it: it may always change.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pydantic.errors import PydanticUserError
from pydantic_core import PydanticUndefinedType

from autocoder.codec import adapter_of, once_per_type
from autocoder.component import Component
from autocoder.config_model import payload_type_bindings
from autocoder.graph import Graph, Node
from autocoder.port import substitute, type_name
from autocoder.state import Keyed, declared_state

_WORDS_ONLY: Final = frozenset({"title", "description", "examples", "default"})


def fingerprint_of(graph: Graph) -> dict[str, dict[str, Any]]:
    """What each component of a graph is like, by name."""
    return {name: _component(graph, node) for name, node in graph.nodes.items()}


def state_types(node: Node) -> dict[str, Any]:
    """The types of a component's states by name, as they are kept."""
    bindings = payload_type_bindings(node.component, Component)
    declared = declared_state(type(node.component))
    return {name: substitute(each.type, bindings) for name, each in declared.items()}


def _component(graph: Graph, node: Node) -> dict[str, Any]:
    kind = type(node.component)
    declared = declared_state(kind)
    ports = {port: graph.payload_type(node.name, port) for port in (*node.ins, *node.outs)}
    return {
        "use": node.use,
        "class": kind.__qualname__,
        "kind": node.kind,
        "version": kind.kept_version,
        "ports": {port: described(hint) for port, hint in ports.items()},
        "durable": graph.durable_ports(node.name),
        "state": {
            name: {"scope": "keyed" if isinstance(declared[name], Keyed) else "plain", **described(hint)}
            for name, hint in state_types(node).items()
        },
    }


def described(hint: Any) -> dict[str, str]:
    """A type by its name, and by a digest of what its JSON looks like: the fields of a class change under the same name."""
    return {"type": type_name(hint), "shape": _shape(hint)}


def _shape(hint: Any) -> str:
    try:
        return _digest(hint)
    except (PydanticUserError, TypeError, ValueError, NameError):
        return ""  # what has no schema is told by its name alone


@once_per_type
def _digest(hint: Any) -> str:
    schema = adapter_of(hint).json_schema(mode="validation")
    plain = json.dumps(_without_words(schema), sort_keys=True, default=repr)
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()


def _without_words(schema: Any) -> Any:
    """A schema without what changes nothing in what it takes."""
    if isinstance(schema, dict):
        fields = {name for name, each in schema.items() if isinstance(each, dict)}
        return {
            name: _without_words(each) for name, each in schema.items() if name in fields or name not in _WORDS_ONLY
        }
    if isinstance(schema, list):
        return [_without_words(each) for each in schema]
    return None if isinstance(schema, PydanticUndefinedType) else schema
