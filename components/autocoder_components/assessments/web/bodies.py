"""Reads what a request brings: bounded in size and time before it is understood, and told by name where it is wrong."""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

import anyio
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from autocoder import parse_json
from autocoder_components.assessments.lifecycle.wording import told
from autocoder_components.assessments.web.problems import Refusal

Model = TypeVar("Model", bound=BaseModel)
MOST_FORM_BYTES: Final = 8192
MOST_PARAMETERS: Final = 50


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The body, of at most so many bytes that come within so many seconds.

    Raises Refusal: 413 as soon as it is known to be larger, which a Content-Length tells before anything is read, and 408.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > most):
        raise _too_large(most)
    body = bytearray()
    try:
        with anyio.fail_after(seconds):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError:
        detail = f"the body did not come within {seconds:g} s"
        raise Refusal(408, "too_slow", detail, ["body"], {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(400, "broken_off", "the body broke off", ["body"]) from None
    return bytes(body)


def _too_large(most: int) -> Refusal:
    return Refusal(
        413, "too_large", f"the body has more than {most:,} bytes, which is the most", ["body"], {"Connection": "close"}
    )


async def read_json(request: Request, most: int, seconds: float) -> Any:
    """The body as JSON. Raises Refusal as `read_body`, 415 for another type of content and 400 for what is no JSON.

    That it has to say what it is keeps forms of other sites out: for JSON a browser asks first, and hears nothing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "unsupported_media_type", "say Content-Type: application/json", ["Content-Type"])
    body = await read_body(request, most, seconds)
    try:
        return parse_json(body.decode("utf-8"), unique_keys=True)
    except RecursionError:
        reason = "it is nested too deeply"
    except (ValueError, UnicodeDecodeError) as error:
        # What the decoder says quotes nothing but a key that stands there twice, or the beginning of a number.
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else reason
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        reason += place
    raise Refusal(400, "bad_json", f"the body is no JSON: {reason}", ["body"])


async def read_form(request: Request, seconds: float) -> dict[str, str]:
    """The fields of a small HTML form, the last of a name."""
    body = await read_body(request, MOST_FORM_BYTES, seconds)
    return dict(_pairs(body.decode("utf-8", "replace")))


def read_query(request: Request, model: type[Model], *, forgiving: bool = False) -> Model:
    """The query of the URL as a model, whose list fields may be given repeatedly.

    Raises Refusal (400) that names every parameter that is unknown, wrong, or given twice. `forgiving`: what is left empty
    counts as not given, as a browser sends the fields of a form that nobody filled in.
    """
    given: dict[str, Any] = {}
    lists = {name for name, field in model.model_fields.items() if isinstance(field.default, tuple)}
    for name, value in _pairs(request.scope["query_string"].decode("latin-1")):
        if forgiving and not value:
            continue
        if name in lists:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Refusal(400, "bad_query", f"{name} is given twice", [name])
        else:
            given[name] = value
    return judged_by(model, given, status=400, code="bad_query")


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise Refusal(400, "bad_query", f"more than {MOST_PARAMETERS} parameters") from None


def judged_by(model: type[Model], given: Any, *, status: int, code: str) -> Model:
    """What was given as a model. Raises Refusal that names every field at fault, and quotes no value."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        fields, said = told(error, model, "body")
        raise Refusal(status, code, said, fields) from None


def id_of(request: Request) -> str:
    """The id in the path. Raises Refusal (404) for what no assessment can be called."""
    written = request.path_params["assessment_id"]
    try:
        found = unquote(written, errors="strict")
    except UnicodeDecodeError:
        found = ""
    if not found or len(found) > 255 or not found.isprintable():
        raise Refusal(404, "not_found", "no assessment has such an id", ["assessment_id"])
    return found
