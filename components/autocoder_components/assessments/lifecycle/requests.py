"""What may be asked for, and as what it is stored: judged whole before anything is written."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator, model_validator

from autocoder_components.assessments.lifecycle.errors import InvalidRequestError
from autocoder_components.assessments.lifecycle.states import Policy
from autocoder_components.assessments.lifecycle.tables import LONGEST_TIMEOUT
from autocoder_components.assessments.lifecycle.wording import told
from autocoder_components.assessments.requests import SHORTEST_TIMEOUT, CandidateSpec, RequestSpec

MOST_BYTES: Final = 1024 * 1024
MOST_RETRIES: Final = 100
MOST_NAMED: Final = 1000
"""Paths, inline configurations and globs, of each: every one of them has outcomes of its own, and is held against servers."""
LONGEST_NAME: Final = 500
"""Characters of a server's name; an index of PostgreSQL takes no more than 2,700 bytes."""
_OPTIONS: Final = "options"
# What says how the assessment is run, and not what is assessed: no part of what the pipeline is asked.
_WHEN: Final = "timestamp"
_RUNNING: Final = ("source", "priority", "timeout", "max_retries", _WHEN)


# A database takes no half characters (lone surrogates). Names of files may have them, where they are no UTF-8; these are found
# below a folder that is named, and can be assessed by name with `autocoder assess`, which keeps no request.
_NO_TEXT: Final[Mapping[str, str]] = {
    "paths": "is no UTF-8, which no database takes; name the folder that holds it",
    "server_filter": "holds half of a surrogate pair, which no database takes; write * for it",
    "candidates": "holds half of a surrogate pair, which no database takes",
}


def _have_text(given: list[Any], info: ValidationInfo) -> list[Any]:
    for number, each in enumerate(given, 1):
        texts = (each.text, each.name, each.client or "") if isinstance(each, CandidateSpec) else (each,)
        if not all(map(_is_text, texts)):
            raise ValueError(f"number {number} {_NO_TEXT[info.field_name or '']}")
    return given


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class KeptSpec(RequestSpec):
    """What is to be assessed, out of a row; another version may have stored there what this one would refuse."""

    _texts = field_validator(*_NO_TEXT)(_have_text)


class AssessmentRequest(RequestSpec):
    """A request for the service: what is to be assessed, who asks, how urgent it is and how long it may take.

    The options may stand beside the rest or, as in the older services, together under `options`.
    """

    source: Literal["installer", "compliance"] = Field(default="compliance", description="which service asks")
    priority: int = Field(default=5, ge=1, le=10, description="1 (first) to 10")
    timeout: float | None = Field(
        default=None, ge=SHORTEST_TIMEOUT, le=LONGEST_TIMEOUT, description="seconds that an attempt may take"
    )
    max_retries: int | None = Field(
        default=None,
        ge=0,
        le=MOST_RETRIES,
        validation_alias=AliasChoices("max_retries", "maxRetries"),
        description="automatic attempts behind the first",
    )
    always_waits = True
    _texts = field_validator(*_NO_TEXT)(_have_text)
    timestamp: str | None = Field(
        default=None, max_length=64, description="when the caller says it asked; kept as it is"
    )

    @field_validator("priority", "timeout", "max_retries", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any) -> Any:
        # To Python true is 1, which is the most urgent.
        if isinstance(value, bool):
            raise ValueError("must be a number, not true or false")  # noqa: TRY004  pydantic wants it
        return value

    @field_validator("paths", "candidates", "server_filter", mode="before")
    @classmethod
    def _are_few(cls, named: Any) -> Any:
        if isinstance(named, list | tuple) and len(named) > MOST_NAMED:
            raise ValueError(
                f"{len(named):,} are named, {MOST_NAMED:,} are allowed; name folders, or globs such as web-*"
            )
        return named

    @field_validator("server_filter")
    @classmethod
    def _names_servers(cls, names: list[str]) -> list[str]:
        if any(len(name) > LONGEST_NAME or not name.isprintable() for name in names):
            raise ValueError(f"a server's name has at most {LONGEST_NAME} characters, none of them a control character")
        return names

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, written: Any) -> Any:
        if not isinstance(written, Mapping) or not isinstance(written.get(_OPTIONS), Mapping):
            return written
        options = dict(written[_OPTIONS])
        rest = {name: value for name, value in written.items() if name != _OPTIONS}
        timeouts = [each for each in (rest.pop("timeout", None), options.pop("timeout", None)) if each is not None]
        if len(timeouts) == 2 and all(isinstance(each, int | float) for each in timeouts):
            timeouts = [min(timeouts)]
        twice = sorted(rest.keys() & options.keys())
        if twice:
            raise ValueError(f"{twice[0]} stands beside `options` and in it; write it once")
        return {**rest, **options, **({"timeout": timeouts[0]} if timeouts else {})}


@dataclass(frozen=True, slots=True)
class NewAssessment:
    """A request that was judged, as the columns of its row. `data` is canonical JSON; `is_same_request` compares it.

    `is_named`: the caller gave the id. One that was made up here has never been anywhere.
    """

    assessment_id: str
    assessment_type: str
    source: str
    server_name: str | None
    priority: int
    timeout_seconds: float
    max_retries: int
    data: str
    is_named: bool


def judged(written: AssessmentRequest | Mapping[str, Any], policy: Policy) -> NewAssessment:
    """The request as it is stored, with an id made up where it has none.

    Raises InvalidRequestError, which names each field that is wrong and never its value: requests may hold credentials.
    """
    request = written if isinstance(written, AssessmentRequest) else _validated(written)
    spec = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"id"})
    try:
        data = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except ValueError as error:
        raise InvalidRequestError(f"the request cannot be stored: {error}", ["request"]) from None
    if len(data) > MOST_BYTES:
        largest = max(spec, key=lambda name: len(json.dumps(spec[name])))
        raise InvalidRequestError(
            f"{largest}: the request has {len(data):,} bytes, {MOST_BYTES:,} are allowed; name paths instead", [largest]
        )
    return NewAssessment(
        assessment_id=request.id or str(uuid.uuid4()),
        assessment_type=request.type,
        source=request.source,
        server_name=request.server_filter[0] if len(request.server_filter) == 1 else None,
        priority=request.priority,
        timeout_seconds=min(request.timeout or policy.timeout, policy.timeout),
        max_retries=policy.max_retries if request.max_retries is None else request.max_retries,
        data=data,
        is_named=request.id is not None,
    )


def is_same_request(one: str, other: str) -> bool:
    """Whether two rows ask for the same; when somebody says to have asked is no part of it."""
    return one == other or _asked(one) == _asked(other)


def _asked(data: str) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads(data)
    asked.pop(_WHEN, None)
    return asked


def spec_of(data: Mapping[str, Any], assessment_id: str) -> RequestSpec:
    """What the pipeline is asked to assess, out of the request that a row keeps."""
    asked = {name: value for name, value in data.items() if name not in _RUNNING}
    return KeptSpec.model_validate({**asked, "id": assessment_id})


def _validated(written: Mapping[str, Any]) -> AssessmentRequest:
    try:
        return AssessmentRequest.model_validate(written)
    except ValidationError as error:
        fields, said = told(error, AssessmentRequest, "request")
        raise InvalidRequestError(f"the request cannot be stored: {said}", fields) from None
