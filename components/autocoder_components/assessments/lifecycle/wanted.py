"""Whether anybody still waits for what a component is at: cancelling is cooperative, and this is where workers ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import sqlalchemy as sa

from autocoder import patiently, pipeline_database
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.tables import assessment_states
from autocoder_components.assessments.model import Request

_states: Final = assessment_states.c
TIME_OVER: Final = "its time is over"


async def unwanted(request: Request) -> str | None:
    """Why no result of this attempt is wanted any more, in words; None while it is.

    What does not come from the lifecycle is always wanted. Only within a running pipeline that has a database.
    """
    (why,) = await all_unwanted([request])
    return why


async def all_unwanted(requests: Sequence[Request]) -> list[str | None]:
    """The same for several, in their order, in one look."""
    ids = sorted({each.assessment_id for each in requests if each.attempt is not None})
    if not ids:
        return [None] * len(requests)
    query = sa.select(_states.assessment_id, _states.state, _states.retry_count, _states.deadline_at).where(
        _states.assessment_id.in_(ids)
    )
    database = pipeline_database()

    async def found() -> dict[str, Any]:
        async with database.reading() as connection:
            return {each.assessment_id: each for each in await connection.execute(query)}

    rows, moment = await patiently(database, "read assessments", found), datetime.now(UTC)
    return [_why(each, rows.get(each.assessment_id), moment) for each in requests]


def _why(request: Request, row: Any, moment: datetime) -> str | None:
    if request.attempt is None:
        return None
    if row is None:
        return "the assessment was deleted"
    if row.state != State.PROCESSING:
        return f"the assessment is {row.state}"
    if row.retry_count != request.attempt:
        return f"attempt {row.retry_count} counts now"
    if row.deadline_at <= moment:
        return TIME_OVER
    return None


async def seconds_left(request: Request) -> float:
    """For how long a result of this attempt comes in time: below 0 where it is too late, infinite outside the lifecycle."""
    if request.attempt is None:
        return math.inf
    query = sa.select(_states.deadline_at).where(
        _states.assessment_id == request.assessment_id, _states.retry_count == request.attempt
    )
    database = pipeline_database()

    async def found() -> datetime | None:
        async with database.reading() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    deadline = await patiently(database, "read the time of an assessment", found)
    return math.inf if deadline is None else (deadline - datetime.now(UTC)).total_seconds()


async def until_unwanted(request: Request, *, every: float = 0.5) -> str:
    """Wait until no result of this attempt is wanted, looking so often (in seconds); returns why.

    For what takes long: run it beside this in a task group, and cancel it when this returns.
    """
    while (why := await unwanted(request)) is None:  # noqa: ASYNC110  another process cancels
        await anyio.sleep(every)
    return why


async def all_count(attempts: Sequence[tuple[str, int | None]]) -> list[bool]:
    """Whether what comes of each attempt (id and number) counts: it has its verdict, or may still get it, however late.

    What does not come from the lifecycle, and has no number, counts always.
    """
    ids = sorted({name for name, attempt in attempts if attempt is not None})
    if not ids:
        return [True] * len(attempts)
    query = sa.select(_states.assessment_id, _states.retry_count).where(
        _states.assessment_id.in_(ids), _states.state.in_((State.PROCESSING, State.COMPLETED))
    )
    database = pipeline_database()

    async def found() -> set[tuple[str, int | None]]:
        async with database.reading() as connection:
            return {(each.assessment_id, each.retry_count) for each in await connection.execute(query)}

    counts = await patiently(database, "read assessments", found)
    return [attempt is None or (name, attempt) in counts for name, attempt in attempts]
