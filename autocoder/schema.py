"""One JSON Schema (draft 2020-12) of pipeline files with every installed component, so that editors complete and check.

What an editor cannot know is left open: what `module:Class` takes, and what a `${VARIABLE}` will be; so a text with a
variable is accepted wherever a single value is. The field schemas are those of the models that judge the values when a
pipeline is loaded, so the two cannot disagree.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import core_schema

from autocoder.component import Component, Merger, Transformer
from autocoder.connections import ON_FULL, ORDER
from autocoder.database_settings import DATABASE_MODELS
from autocoder.durations import DURATION_PATTERN
from autocoder.handler import is_overridden
from autocoder.loading import RUN_IN
from autocoder.overrides import COMPONENT_OVERRIDE_KEYS
from autocoder.policies import THEN
from autocoder.reading import NAME
from autocoder.registry import Registry
from autocoder.settings import models_of_sections

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
VARIABLE: Final[Schema] = {"$ref": "#/$defs/variable"}
_REFERENCE: Final = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)?$"
_MODULE_CLASS: Final = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
_ONLY_PARALLEL: Final = ("transformer", "splitter")


def pipeline_schema(registry: Registry) -> Schema:
    """The schema of a pipeline file, given the components of a registry (those of broken packs are left out)."""
    names = registry.names()
    definitions = _common_definitions()
    rules = []
    for name in names:
        kind = registry.get(name)
        rules.append(_component_rule(name, kind, definitions))
    definitions["component"] = _component(names, [_summary(registry.get(name)) for name in names], rules)
    return {
        "$schema": DIALECT,
        "title": "autocoder pipeline",
        "type": "object",
        "required": ["pipeline", "components"],
        "additionalProperties": False,
        "properties": {
            "pipeline": {
                "type": "string",
                "description": "The name of the pipeline.",
                **_or_variable(_pattern(NAME.pattern)),
            },
            "description": {"type": "string", "description": "What the pipeline is for."},
            "components": {
                "type": "object",
                "description": "The components by name, each with what feeds it.",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "additionalProperties": {"$ref": "#/$defs/component"},
            },
            "commit": {"$ref": "#/$defs/commit"},
        },
        "$defs": definitions,
    }


def settings_schema(registry: Registry) -> Schema:
    """The schema of the settings of an environment (`config/<environment>.yaml`), its overrides of pipelines included.

    Which component stands behind a name in `pipelines` is said in another file, so its fields are left open.
    """
    definitions = _common_definitions()
    sections = {name: _model_schema(name, model, definitions) for name, model in models_of_sections().items()}
    databases = [_model_schema(name, model, definitions) for name, model in DATABASE_MODELS.items()]
    of_component = _component(registry.names(), [], [])["properties"]
    overrides = {key: of_component[key] for key in COMPONENT_OVERRIDE_KEYS}
    of_pipeline = {
        "components": _described("Changes of components, by name.", _map_of(_strict(overrides))),
        "commit": {"$ref": "#/$defs/commit"},
    }
    return {
        "$schema": DIALECT,
        "title": "autocoder settings",
        **_strict(
            {
                "database": {"anyOf": databases},
                "pipelines": _described("Changes of pipelines, by name.", _map_of(_strict(of_pipeline))),
                **sections,
            }
        ),
        "$defs": definitions,
    }


def _map_of(schema: Schema) -> Schema:
    return {"type": ["object", "null"], "additionalProperties": {**schema, "type": ["object", "null"]}}


def _model_schema(name: str, model: type[BaseModel], definitions: dict[str, Schema]) -> Schema:
    """A model's schema, with its inner ones in the definitions under this name."""
    template = f"#/$defs/{name}." + "{model}"
    schema = model.model_json_schema(mode="validation", ref_template=template, schema_generator=FieldSchema)
    for inner, definition in schema.pop("$defs", {}).items():
        definitions[f"{name}.{inner}"] = _with_variables(definition)
    return _object(schema)


def _pattern(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^{pattern}$"}


def _or_variable(schema: Schema) -> Schema:
    return {"anyOf": [schema, VARIABLE]}


def _described(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


def _strict(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties), **more}


def _common_definitions() -> dict[str, Schema]:
    integer = {
        "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9][0-9_]*$"}, VARIABLE],
    }
    return {
        "variable": {
            "type": "string",
            "pattern": r"\$\{",
            "description": "${VARIABLE}, ${VARIABLE:-default} or ${VARIABLE:?message}",
        },
        "count": integer,
        "duration": _or_variable(
            {
                "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}],
                "description": "seconds, or a duration such as 100ms, 1s, 2m, 1h",
            }
        ),
        "flag": _or_variable({"type": "boolean"}),
        "commit": _described(
            "When an epoch closes: whichever comes first.",
            _strict(
                {
                    "every": _described("The longest time between two commits (100ms).", {"$ref": "#/$defs/duration"}),
                    "messages": _described("The most messages of an epoch (10000).", {"$ref": "#/$defs/count"}),
                }
            ),
        ),
        "on_error": _on_error(),
        **_from(),
    }


def _on_error() -> Schema:
    retry = _strict(
        {
            "attempts": _described("How often a message is tried, the first time included.", {"$ref": "#/$defs/count"}),
            "backoff": _described("The delay that doubles with each attempt.", {"$ref": "#/$defs/duration"}),
            "cap": _described("The longest delay.", {"$ref": "#/$defs/duration"}),
            "on": {
                "description": "The exception classes that are worth another attempt; without it, any.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
        },
        required=["attempts"],
    )
    then = _or_variable({"enum": list(THEN)})
    full = _strict({"retry": retry, "then": _described("What comes after the last attempt.", then)})
    return _described("What happens to a message that failed.", {"anyOf": [*then["anyOf"], full]})


def _from() -> dict[str, Schema]:
    reference = _described(
        "A component, or component.port where it has several outputs.",
        _or_variable({"type": "string", "pattern": _REFERENCE}),
    )
    options = _strict(
        {
            "port": {
                "description": "What feeds this input.",
                "anyOf": [
                    {"$ref": "#/$defs/reference"},
                    {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/reference"}},
                ],
            },
            "durable": _described(
                "Keep the messages in the database until they are handled.", {"$ref": "#/$defs/flag"}
            ),
            "capacity": _described("The most messages in memory.", {"$ref": "#/$defs/count"}),
            "on_full": _described("What happens when the channel is full.", _or_variable({"enum": list(ON_FULL)})),
            "order": _described("The order of messages.", _or_variable({"enum": list(ORDER)})),
            "key": _described("The payload's field by which the channel orders.", {"type": "string", "minLength": 1}),
            "limit": _described("The longest backlog of a durable channel.", {"$ref": "#/$defs/count"}),
        },
        required=["port"],
        dependentRequired={"limit": ["durable"]},
    )
    options["if"] = {"properties": {"order": {"const": "priority"}}, "required": ["order"]}
    options["then"] = {"required": ["key"]}
    feed = {"anyOf": [{"$ref": "#/$defs/reference"}, {"$ref": "#/$defs/channel"}]}
    return {
        "reference": reference,
        "channel": options,
        "feed": {"anyOf": [*feed["anyOf"], {"type": "array", "minItems": 1, "items": feed}]},
        "inputs": {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/feed"}},
    }


def _component(names: list[str], summaries: list[str], rules: list[Schema]) -> Schema:
    use = {
        "description": "A registered pack.Component, or module:Class of the project.",
        "anyOf": [
            {"enum": names, "enumDescriptions": summaries} if names else False,
            {"type": "string", "pattern": _MODULE_CLASS},
            VARIABLE,
        ],
    }
    properties: dict[str, Any] = {
        "use": use,
        "with": _described("The component's configuration.", {"type": ["object", "null"]}),
        "from": {
            "description": "What feeds the component; a Merger takes a map from its inputs.",
            "anyOf": [{"$ref": "#/$defs/feed"}, {"$ref": "#/$defs/inputs"}],
        },
        "on_error": {"$ref": "#/$defs/on_error"},
        "concurrency": _described("The most calls in flight at once.", {"$ref": "#/$defs/count"}),
        "ordered": _described("Whether outputs keep the order of inputs.", {"$ref": "#/$defs/flag"}),
        "run_in": _described("Where the handler runs.", _or_variable({"enum": list(RUN_IN)})),
        "renamed_from": _described(
            "The name that the component had before: what was kept under it is moved.",
            _or_variable(_pattern(NAME.pattern)),
        ),
    }
    return _strict(properties, required=["use"], allOf=rules)


def _summary(kind: type[Component]) -> str:
    return (inspect.getdoc(kind) or kind.__name__).partition("\n\n")[0].replace("\n", " ")


def _component_rule(name: str, kind: type[Component], definitions: dict[str, Schema]) -> Schema:
    """What holds for components that `use` this name; the schema of its fields goes to the definitions."""
    fields = _fields_schema(name, kind, definitions)
    definitions[f"with.{name}"] = fields
    properties: dict[str, Any] = {"with": {"$ref": f"#/$defs/with.{name}"}}
    if not fields.get("required"):
        properties["with"] = {"anyOf": [properties["with"], {"type": "null"}]}
    if kind.kind == "source":
        properties["from"] = False
    elif kind.kind == "merger":
        properties["from"] = _merger_inputs(kind)
    else:
        properties["from"] = {"$ref": "#/$defs/feed"}
    if kind.kind not in _ONLY_PARALLEL:
        properties |= {"concurrency": False, "ordered": False}
    sent = issubclass(kind, Transformer) and is_overridden(kind, Transformer, "inbox_until")
    fed = kind.kind != "source" and not sent
    required = [*(["with"] if fields.get("required") else []), *(["from"] if fed else [])]
    then: Schema = {"properties": properties}
    if required:
        then["required"] = required
    return {"if": {"properties": {"use": {"const": name}}, "required": ["use"]}, "then": then}


def _merger_inputs(kind: type[Component]) -> Schema:
    names = list(kind.contract().ins)
    if not names or is_overridden(kind, Merger, "inputs"):
        return {"$ref": "#/$defs/inputs"}
    return _strict({name: {"$ref": "#/$defs/feed"} for name in names}, required=names)


class FieldSchema(GenerateJsonSchema):
    """Pydantic's schema of a model; a field that JSON cannot describe is left open."""

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> Schema:
        return {}

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """A default that JSON cannot write is left out without a word: the field stays optional."""


def _fields_schema(name: str, kind: type[Component], definitions: dict[str, Schema]) -> Schema:
    return _model_schema(name, kind.config_model(), definitions)


def _object(schema: Schema) -> Schema:
    """An object's schema with variables allowed in its values; an object itself is never one variable."""
    done = dict(schema)
    if "properties" in schema:
        done["properties"] = {key: _with_variables(value) for key, value in schema["properties"].items()}
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            done[key] = _with_variables(schema[key])
    if "prefixItems" in schema:
        done["prefixItems"] = [_with_variables(each) for each in schema["prefixItems"]]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            done[key] = [_with_variables(each) for each in schema[key]]
    return done


_ANNOTATIONS: Final = ("title", "description", "default", "examples", "deprecated")


def _with_variables(schema: Schema) -> Schema:
    """A schema that a text with a variable fulfils too, wherever one value is wanted."""
    kind = schema.get("type")
    if kind in ("object", "array") or any(key in schema for key in ("anyOf", "oneOf", "allOf", "$ref")):
        return _object(schema)
    constraints = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    if not constraints or constraints in ({"type": "string"}, {"type": "null"}):
        return schema
    notes = {key: value for key, value in schema.items() if key in _ANNOTATIONS}
    return {**notes, **_or_variable(constraints)}
