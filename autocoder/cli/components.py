"""`autocoder components`: what is installed, and how it is used."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from autocoder.cli.options import common_options, json_option
from autocoder.cli.reporting import State, give, give_json, problem_data, say, table
from autocoder.component import Component, Merger, Splitter
from autocoder.handler import is_overridden
from autocoder.port import type_name
from autocoder.registry import Registry
from autocoder.schema import FieldSchema


@click.command("components")
@click.argument("name", required=False)
@json_option
@common_options
@click.pass_context
def command(ctx: click.Context, name: str | None) -> None:
    """List the installed components, or explain one.

    NAME is one such as files.ReadLines. Packs that cannot be imported are told on stderr.
    """
    registry = Registry.installed()
    as_json = ctx.ensure_object(State).json
    if name is not None:
        kind = registry.get(name)
        if as_json:
            give_json(explained(name, kind))
        else:
            give("\n".join(_explanation(name, kind)))
        return
    found = [(each, registry.get(each)) for each in registry.names()]
    if as_json:
        data = [
            {"name": each, "pack": _pack(each), "kind": kind.kind, "summary": _summary(kind)} for each, kind in found
        ]
        give_json({"components": data, "problems": [problem_data(each) for each in registry.problems()]})
    elif found:
        rows = [(each, kind.kind, _summary(kind)) for each, kind in found]
        give("\n".join(table(("name", "kind", "what it does"), rows)))
    else:
        say("no components are installed")
    for problem in registry.problems():
        say(f"broken: {problem}")


def _pack(name: str) -> str:
    return name.partition(".")[0]


def _doc(kind: type[Component]) -> str:
    """The docstring of the class itself: an inherited one would speak of another."""
    return inspect.cleandoc(kind.__doc__ or "")


def _summary(kind: type[Component]) -> str:
    return _doc(kind).partition("\n\n")[0].replace("\n", " ")


def explained(name: str, kind: type[Component]) -> dict[str, Any]:
    """A component in JSON's types: its ports with types, its fields as JSON Schema, its documentation."""
    contract = kind.contract()
    schema = kind.config_model().model_json_schema(schema_generator=FieldSchema)
    return {
        "name": name,
        "pack": _pack(name),
        "kind": kind.kind,
        "module": f"{kind.__module__}:{kind.__qualname__}",
        "ins": {port: type_name(each.type) for port, each in contract.ins.items()},
        "outs": {port: type_name(each.type) for port, each in contract.outs.items()},
        "fields": schema.get("properties", {}),
        "required": schema.get("required", []),
        "definitions": schema.get("$defs", {}),
        "ports_by_fields": _decides_ports(kind),
        "documentation": _doc(kind),
    }


def _explanation(name: str, kind: type[Component]) -> Iterator[str]:
    data = explained(name, kind)
    yield f"{name}  {data['kind']}, {data['module']}"
    for way in ("in", "out"):
        for port, hint in data[f"{way}s"].items():
            yield f"  {way.ljust(3)} {hint}" if port == way else f"  {way.ljust(3)} {port}: {hint}"
        if data["ports_by_fields"] and way == _WAY_BY_FIELDS[kind.kind]:
            yield f"  {way.ljust(3)} as its fields say"
    if data["fields"]:
        yield ""
        yield "fields (with:)"
        for field, schema in data["fields"].items():
            yield from _field(field, schema, field in data["required"], data["definitions"])
    yield ""
    yield data["documentation"]


_WAY_BY_FIELDS: Final = {"merger": "in", "splitter": "out"}


def _decides_ports(kind: type[Component]) -> bool:
    """Whether the ports of a component follow from its configuration."""
    if kind.kind == "merger":
        return is_overridden(kind, Merger, "inputs")
    return kind.kind == "splitter" and is_overridden(kind, Splitter, "outputs")


def _field(name: str, schema: Mapping[str, Any], required: bool, definitions: Mapping[str, Any]) -> Iterator[str]:
    default = ", required" if required else f", default {_json(schema['default'])}" if "default" in schema else ""
    rules = _rules(schema)
    yield f"  {name}: {_type(schema, definitions)}{default}" + (f", {rules}" if rules else "")
    if schema.get("description"):
        yield from textwrap.wrap(schema["description"], 100, initial_indent="      ", subsequent_indent="      ")


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The type that a JSON Schema describes, in short."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        inner = definitions.get(name, {})
        return _type(inner, definitions) if "enum" in inner else name
    if "enum" in schema:
        return " | ".join(_json(each) for each in schema["enum"])
    if "const" in schema:
        return _json(schema["const"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " | ".join(dict.fromkeys(_type(each, definitions) for each in schema[key]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " | ".join(kind)
    if kind == "array" and "items" in schema:
        return f"array of {_type(schema['items'], definitions)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'], definitions)}"
    return str(kind)


_RULES: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} long",
    "maxLength": "at most {} long",
    "pattern": "like {}",
    "minItems": "{} or more of them",
    "maxItems": "{} of them at most",
    "minProperties": "{} or more of them",
    "maxProperties": "{} of them at most",
}


def _rules(schema: Mapping[str, Any]) -> str:
    """What a value must fulfil besides its type; of a choice, what its members do."""
    found = [text.format(schema[key]) for key, text in _RULES.items() if key in schema]
    found += [rule for each in schema.get("anyOf", ()) if (rule := _rules(each))]
    return ", ".join(dict.fromkeys(found))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
