"""An assessment as an older event system has it: a line of an export, or what it answers when it is asked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from autocoder import parse_json
from autocoder_components.assessments.lifecycle.requests import MOST_BYTES, MOST_RETRIES
from autocoder_components.assessments.lifecycle.states import TERMINAL, State
from autocoder_components.assessments.lifecycle.tables import LONGEST_TIMEOUT
from autocoder_components.assessments.lifecycle.wording import told
from autocoder_components.assessments.reports.text import cut, visible
from autocoder_components.assessments.requests import AssessmentId

OTHER_WORDS: Final = {
    "requested": "pending",
    "queued": "pending",
    "started": "processing",
    "running": "processing",
    "in_progress": "processing",
    "done": "completed",
    "success": "completed",
    "error": "failed",
    "canceled": "cancelled",
}
"""What other systems call the five states."""
LONGEST_LINE: Final = 2 * MOST_BYTES
BYTE_ORDER_MARK: Final = "\ufeff"
"""What some programs put before the text of a file; it is no part of it."""
MOST_QUOTED: Final = 40
MOST_DEPTH: Final = 100
"""So deeply may lists and objects be nested; a database refuses what is much deeper."""
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
_REQUESTS: Final = ("request", "request_data", "requestData")
_IDS: Final = ("assessment_id", "assessmentId", "id")


class UnreadableError(ValueError):
    """What an older system says is no assessment; the message names what is wrong, and quotes nothing but an unknown status."""


def _word(status: Any) -> Any:
    if not isinstance(status, str):
        return status
    word = OTHER_WORDS.get(status.lower(), status.lower())
    if word not in [each.value for each in State]:
        known = ", ".join([*State, *OTHER_WORDS])
        raise ValueError(f"'{cut(visible(status), MOST_QUOTED)}' is not understood; these are: {known}")
    return word


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character, which no database takes")
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("holds half of a surrogate pair, which no database takes")
    return text


def _named(*names: str, **options: Any) -> Any:
    return Field(validation_alias=AliasChoices(*names), **options)


Text = Annotated[str, AfterValidator(_storable)]
Moment = Annotated[AwareDatetime, Field(ge=_EARLIEST, le=_LATEST)]


class LegacyAssessment(BaseModel):
    """What an older system keeps of an assessment. Names are understood in both spellings, and what was asked for beside the
    rest or together under `request`; what is not known here is refused, not lost. `timeout` is in seconds.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    assessment_id: AssessmentId = _named(*_IDS)
    status: Annotated[State, BeforeValidator(_word)] = _named("status", "state")
    version: int | None = Field(default=None, description="here every assessment begins with its first")
    server_name: Text | None = _named("server_name", "serverName", default=None, max_length=1000)
    assessment_type: Literal["security", "health", "compliance"] = _named(
        "assessment_type", "assessmentType", default="security"
    )
    options: dict[str, Any] = Field(default_factory=dict)
    source: Literal["installer", "compliance"] = "compliance"
    timestamp: str | None = None
    priority: int = Field(default=5, ge=1, le=10)
    timeout: float | None = _named(
        "timeout", "timeout_seconds", "timeoutSeconds", default=None, gt=0, le=LONGEST_TIMEOUT
    )
    retry_count: int = _named("retry_count", "retryCount", default=0, ge=0, le=MOST_RETRIES)
    max_retries: int | None = _named("max_retries", "maxRetries", default=None, ge=0, le=MOST_RETRIES)
    next_retry_at: Moment | None = _named("next_retry_at", "nextRetryAt", default=None)
    progress: int = Field(default=0, ge=0, le=100)
    message: Text | None = Field(default=None, max_length=MOST_BYTES)
    result: dict[str, Any] | None = _named("result", "result_data", "resultData", default=None)
    error: Text | None = _named("error", "error_message", "errorMessage", default=None, max_length=MOST_BYTES)
    created_at: Moment = _named("created_at", "createdAt")
    updated_at: Moment | None = _named("updated_at", "updatedAt", default=None)
    completed_at: Moment | None = _named("completed_at", "completedAt", default=None)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, written: Any) -> Any:
        """What was asked for, lifted out of the object in which the older store kept it."""
        if not isinstance(written, Mapping):
            return written
        flat = dict(written)
        for holder in _REQUESTS:
            asked = flat.get(holder)
            if not isinstance(asked, Mapping):
                continue
            del flat[holder]
            own = [flat[name] for name in _IDS if name in flat]
            for name, value in asked.items():
                if name == "id" and own:
                    if own != [value]:
                        raise ValueError(f"{holder}.id is not the id of the assessment")
                elif flat.setdefault(name, value) != value:
                    raise ValueError(f"{name} stands beside {holder} and in it, and says something else there")
        return flat

    @model_validator(mode="after")
    def _in_order(self) -> LegacyAssessment:
        if self.completed_at is not None and self.completed_at < self.created_at:
            raise ValueError("completed_at lies before created_at")
        if self.next_retry_at is not None and self.status is not State.FAILED:
            raise ValueError(f"next_retry_at: only what failed is tried again, and this is {self.status}")
        return self

    @property
    def is_promised_more(self) -> bool:
        """Whether its next retry lies beyond those that it had in all: some systems count otherwise than this one."""
        return self.next_retry_at is not None and self.max_retries is not None and self.retry_count >= self.max_retries

    @property
    def has_ended(self) -> bool:
        """Whether nobody will work on it, unless a failure is retried."""
        return self.status in TERMINAL


def read_line(line: str) -> LegacyAssessment:
    """A line of an export. Raises UnreadableError."""
    if len(line) > LONGEST_LINE:
        raise UnreadableError(f"the line has more than {LONGEST_LINE:,} characters")
    if not line.isascii() and any("\ud800" <= each <= "\udfff" for each in line):
        raise UnreadableError("the line is no UTF-8")
    try:
        found = parse_json(line, unique_keys=True)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"no JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise UnreadableError(f"lists and objects are nested more than {MOST_DEPTH} deep") from None
    except ValueError as error:
        raise UnreadableError(str(error)) from None
    return read_legacy(found)


def read_legacy(found: Any) -> LegacyAssessment:
    """What an older system answered. Raises UnreadableError."""
    _check_values(found)
    try:
        return LegacyAssessment.model_validate(found)
    except ValidationError as error:
        _, said = told(error, LegacyAssessment, "line")
        raise UnreadableError(said) from None


def _check_values(value: Any) -> None:
    """Refuse numbers that JSON has not and what is nested too deeply, without recursion."""
    waiting = [(value, 1)]
    while waiting:
        each, depth = waiting.pop()
        if isinstance(each, float) and not math.isfinite(each):
            raise UnreadableError("a number is too large")
        inner = each.values() if isinstance(each, Mapping) else each if isinstance(each, list) else ()
        if inner and depth > MOST_DEPTH:
            raise UnreadableError(f"lists and objects are nested more than {MOST_DEPTH} deep")
        waiting += [(part, depth + 1) for part in inner]
