"""Results that are not kept (`saveResults: false`): handed to who waits, and gone soon after.

The row of such an assessment has the numbers alone from the moment it is completed. The whole result lies beside it, in the
table for what has no table of its own (`sink_storage`), written by the same transaction: who waits may be another process, on
another machine, and may have been cut off when the verdict came. After KEPT it is deleted.

Not deleted with it is what the framework keeps of messages that were between two components at the end of an epoch: those hold
findings, too, and stay for `keep_messages` of the database. Who needs them gone sooner says less there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database, Instant, JsonText, Statement
from autocoder_components.assessments.lifecycle.states import AssessmentState, State
from autocoder_components.assessments.lifecycle.stored import StoredJson
from autocoder_components.assessments.model import Assessment, Request
from autocoder_components.assessments.reports.json_report import json_document

KEPT: Final = timedelta(minutes=10)
OWNER: Final = "assessments"
SUMMARY: Final = ("format", "version", "assessment", "score", "baseline")
"""The members of the report that the row keeps."""
_storage: Final = sa.table(
    "sink_storage",
    sa.column("pipeline", sa.Text()),
    sa.column("sink_name", sa.Text()),
    sa.column("data", JsonText()),
    sa.column("created_at", Instant()),
)
_FIRST: Final = "delivery:"


def summary_of(assessment: Assessment) -> dict[str, Any]:
    """The report without what was found."""
    document = json_document(assessment)
    return {name: document[name] for name in SUMMARY}


def deliver(assessments: Sequence[Assessment]) -> Iterator[Statement]:
    """The statements that put aside the whole results of those assessments that are not kept."""
    rows = [
        {
            "pipeline": OWNER,
            "sink_name": _name(each.request.assessment_id, each.request.attempt),
            "data": json.dumps(json_document(each), ensure_ascii=True, allow_nan=False),
        }
        for each in assessments
        if _is_delivered(each.request)
    ]
    if rows:
        yield Statement(sa.insert(_storage), rows)


async def delivered(database: Database, state: AssessmentState) -> AssessmentState:
    """The completed assessment with its whole result, where that lies aside; any other one, or a later time, as it is."""
    if state.state is not State.COMPLETED or state.request.get("save_results") is not False:
        return state
    name = _name(state.assessment_id, state.retry_count)
    query = sa.select(_storage.c.data).where(_storage.c.pipeline == OWNER, _storage.c.sink_name == name).limit(1)
    async with database.reading() as connection:
        found = (await connection.execute(query)).scalar_one_or_none()
    return state if found is None else replace(state, result=StoredJson(found))


async def forget_deliveries(connection: AsyncConnection, now: datetime) -> None:
    """Delete what nobody has to wait for any more; `now` is aware."""
    ours = sa.and_(_storage.c.pipeline == OWNER, _storage.c.sink_name.startswith(_FIRST))
    await connection.execute(sa.delete(_storage).where(ours, _storage.c.created_at < now - KEPT))


async def forget_deliveries_of(connection: AsyncConnection, attempts: Mapping[str, int]) -> None:
    """Delete those of assessments that are deleted, of each of their attempts; `attempts`: the last one, by id."""
    names = [_name(each, attempt) for each, last in attempts.items() for attempt in range(last + 1)]
    for at in range(0, len(names), 500):
        mine = _storage.c.sink_name.in_(names[at : at + 500])
        await connection.execute(sa.delete(_storage).where(_storage.c.pipeline == OWNER, mine))


def _is_delivered(request: Request) -> bool:
    return not request.save_results and request.attempt is not None


def _name(assessment_id: str, attempt: int | None) -> str:
    # With the attempt: the verdict of one that does not count must not be taken for that of the one that does.
    return f"{_FIRST}{attempt}:{assessment_id}"
