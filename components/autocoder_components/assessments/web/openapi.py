"""The OpenAPI document: the operations, and the schemas that pydantic makes of what they take and give."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter

from autocoder import __version__
from autocoder_components.assessments.lifecycle.requests import AssessmentRequest
from autocoder_components.assessments.web.api import OPERATIONS, Batch, Operation
from autocoder_components.assessments.web.problems import MEDIA_TYPE, ProblemDetails

_REFERENCES: Final = "#/components/schemas/{model}"
_EVERYWHERE: Final = (400, 421, 503)
_GUARDED: Final = (401,)
_CHANGING: Final = (403,)
_ALSO: Final = (
    "The options may stand beside the rest or, as in the older services, together under `options`; the camel-case names "
    "of those are understood, too."
)


def document() -> dict[str, Any]:
    """The whole of it, as OpenAPI 3.1; equal on every call."""
    wanted: dict[Any, TypeAdapter[Any]] = {}
    for each in OPERATIONS:
        wanted[each.endpoint.__name__, "answer"] = TypeAdapter(each.answer)
        wanted[each.endpoint.__name__, "query"] = TypeAdapter(each.query)
        if each.body is not None:
            wanted[each.endpoint.__name__, "body"] = TypeAdapter(each.body)
    wanted["problem", "answer"] = TypeAdapter(ProblemDetails)
    # What is given is described as it is written, what is taken as it is read: a request has several spellings.
    schemas, shared = TypeAdapter.json_schemas(
        [(key, "serialization" if key[1] == "answer" else "validation", each) for key, each in wanted.items()],
        ref_template=_REFERENCES,
    )
    found = {key: schema for (key, _), schema in schemas.items()}
    components = dict(shared.get("$defs", {}))
    _refer_batch(components)
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, found, components)
    for each in OPERATIONS:  # what may be said in queries now stands among the parameters
        components.pop(each.query.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "autocoder assessments",
            "version": __version__,
            "description": "Ask for assessments of MCP client configurations, follow them, and read their verdicts.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _refer_batch(components: dict[str, Any]) -> None:
    """A batch is judged request by request by the store, so its model does not say what it holds; a reader is told."""
    request = AssessmentRequest.__name__
    components[Batch.__name__]["properties"]["requests"]["items"] = {"$ref": _REFERENCES.format(model=request)}
    components[request]["description"] = f"{inspect.getdoc(AssessmentRequest)}\n\n{_ALSO}"


def _operation(operation: Operation, found: Mapping[Any, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    name = operation.endpoint.__name__
    told = " ".join((inspect.getdoc(operation.endpoint) or "").split())
    described: dict[str, Any] = {
        "operationId": name,
        "summary": told.partition(".")[0],
        "description": told,
        "parameters": _parameters(operation, _resolved(found[name, "query"], components)),
        "responses": _responses(operation, found[name, "answer"]),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": found[name, "body"]}}
        described["requestBody"] = {"required": operation.endpoint.__name__ != "cancel", "content": content}
    if operation.is_public:
        described["security"] = [{}, {"token": []}]
    return described


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return components[name] if name else schema


def _parameters(operation: Operation, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{assessment_id}" in operation.path:
        schema = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "assessment_id", "in": "path", "required": True, "schema": schema})
    if operation.endpoint.__name__ == "follow":
        described = "the id of the last event that the client has"
        found.append({"name": "Last-Event-ID", "in": "header", "description": described, "schema": {"type": "string"}})
    for name, schema in query.get("properties", {}).items():
        # `null` cannot be said in a query; left out is what it means there.
        options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        kept = {key: value for key, value in schema.items() if key not in ("anyOf", "description", "title", "default")}
        kept |= options[0] if options else {}
        if schema.get("default") not in (None, []):
            kept["default"] = schema["default"]
        found.append({"name": name, "in": "query", "description": schema["description"], "schema": kept})
    return found


def _responses(operation: Operation, answer: Mapping[str, Any]) -> dict[str, Any]:
    more = (*(() if operation.is_public else _GUARDED), *(_CHANGING if operation.method == "POST" else ()))
    statuses: Sequence[int] = (*_EVERYWHERE, *operation.refusals, *more)
    problem = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCES.format(model=ProblemDetails.__name__)}}}
    refused = {
        str(each): {"description": HTTPStatus(each).phrase, "content": problem} for each in sorted(set(statuses))
    }
    content = {operation.media_type: {"schema": answer}}
    answered = {str(operation.status): {"description": HTTPStatus(operation.status).phrase, "content": content}}
    if operation.endpoint.__name__ == "follow":
        answered["204"] = {"description": "There is no more: the client has the end"}
    return answered | refused
