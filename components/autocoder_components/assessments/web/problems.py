"""What went wrong, as a client is told: one closed set of problems, whatever raised them (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from autocoder import UnreachableError
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentError,
    AssessmentNotFoundError,
    ConflictingRequestError,
    InvalidRequestError,
)
from autocoder_components.assessments.reports.text import cut, visible

MEDIA_TYPE: Final = "application/problem+json"
MOST_FIELDS: Final = 20
_LONGEST_FIELD: Final = 200
_LONGEST_DETAIL: Final = 2000
_BUSY_SECONDS: Final = "5"
_logger: Final = logging.getLogger("autocoder.assessments.web")
_CODES: Final = {
    HTTPStatus.NOT_FOUND: ("no_such_page", "there is nothing at this address"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "this address is not asked like that"),
}


@dataclass(frozen=True, slots=True)
class ProblemDetails:
    """A request that was not answered as asked. `code` names the kind of problem and stays; `detail` is for a person."""

    title: str
    status: int
    code: str
    detail: str
    fields: Annotated[Sequence[str], Field(description="the parts of the request that are at fault")] = ()
    type: Literal["about:blank"] = "about:blank"


class Refusal(Exception):  # noqa: N818  it names what happened
    """A request that is answered with a problem: its HTTP status, a code that stays, words for a person, what is at fault."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        fields: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.details = ProblemDetails(
            HTTPStatus(status).phrase,
            status,
            code,
            cut(visible(detail), _LONGEST_DETAIL),
            [cut(visible(each), _LONGEST_FIELD) for each in fields[:MOST_FIELDS]],
        )


def refusal_of(error: Exception) -> Refusal:
    """The problem that an error means to whoever asked; what nobody foresaw is logged and told without its words."""
    match error:
        case Refusal():
            return error
        case AssessmentNotFoundError():
            return Refusal(404, "not_found", f"there is no assessment {error.assessment_id!r}", ["assessment_id"])
        case ConflictingRequestError():
            return Refusal(409, "conflict", str(error), error.fields)
        case InvalidRequestError():
            return Refusal(422, "invalid_request", str(error), error.fields)
        case AssessmentError():  # illegal transition, stale version: the assessment is not as the caller thought
            return Refusal(409, "conflict", str(error))
        case HTTPException():
            code, detail = _CODES.get(HTTPStatus(error.status_code), ("http_error", error.detail))
            return Refusal(error.status_code, code, detail, headers=error.headers)
        case DBAPIError() if _is_of_the_data(error):
            return Refusal(
                422, "invalid_request", "the request holds a character that the database cannot store: NUL, for one"
            )
        case UnicodeError():
            return Refusal(422, "invalid_request", "the request holds half a character (a lone surrogate)")
        case UnreachableError() | DBAPIError() | OSError():
            # One line: what follows it may quote rows.
            told = next(iter(str(getattr(error, "orig", None) or error).splitlines()), "")
            _logger.warning("the database does not answer: %s: %s", type(error).__name__, told)
            said = "the database does not answer; nothing is known to have changed, ask again"
            return Refusal(503, "unavailable", said, headers={"Retry-After": _BUSY_SECONDS})
    _logger.error("a request failed, which is a mistake in autocoder", exc_info=error)
    return Refusal(500, "internal_error", "an unexpected error, which is a mistake in autocoder; its log says more")


def _is_of_the_data(error: DBAPIError) -> bool:
    """Whether the database refuses a value, and would again: class 22 of SQL's states, or the driver before it asks."""
    state = getattr(error.orig, "sqlstate", None)
    return str(state).startswith("22") if state else type(error.orig).__name__ == "DataError"


def problem_response(refusal: Refusal) -> Response:
    """The answer to a program."""
    details = refusal.details
    members = {name: getattr(details, name) for name in ("type", "title", "status", "code", "detail", "fields")}
    body = json.dumps({name: value for name, value in members.items() if value != []}, ensure_ascii=True)
    return Response(body, details.status, refusal.headers, MEDIA_TYPE)
