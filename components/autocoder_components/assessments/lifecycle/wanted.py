"""Whether anybody still waits for what a component is at: cancelling is cooperative, and this is where workers ask."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import anyio
import sqlalchemy as sa

from autocoder import patiently, pipeline_database
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.tables import assessment_states
from autocoder_components.assessments.model import Request

_states: Final = assessment_states.c


async def unwanted(request: Request) -> str | None:
    """Why no result of this attempt is wanted any more, in words; None while it is.

    What does not come from the lifecycle is always wanted. Only within a running pipeline that has a database.
    """
    if request.attempt is None:
        return None
    query = sa.select(_states.state, _states.retry_count, _states.deadline_at).where(
        _states.assessment_id == request.assessment_id
    )
    database = pipeline_database()

    async def found() -> Any:
        async with database.reading() as connection:
            return (await connection.execute(query)).one_or_none()

    row = await patiently(database, "read assessments", found)
    if row is None:
        return "the assessment was deleted"
    if row.state != State.PROCESSING:
        return f"the assessment is {row.state}"
    if row.retry_count != request.attempt:
        return f"attempt {row.retry_count} counts now"
    if row.deadline_at <= datetime.now(UTC):
        return "its time is over"
    return None


async def until_unwanted(request: Request, *, every: float = 0.5) -> str:
    """Wait until no result of this attempt is wanted, looking so often (in seconds); returns why.

    For what takes long: run it beside this in a task group, and cancel it when this returns.
    """
    while (why := await unwanted(request)) is None:  # noqa: ASYNC110  another process cancels
        await anyio.sleep(every)
    return why
