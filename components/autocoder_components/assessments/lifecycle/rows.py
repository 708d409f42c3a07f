"""Rows of the lifecycle and what is done with them on one connection: every change of an assessment goes through `change`.

Knows nothing of who asks. The caller's transaction holds the row, its audit row, its metrics and the caller's own messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import reached, storable
from autocoder_components.assessments.lifecycle.arguments import refuse_no_id
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentNotFoundError,
    ConflictingRequestError,
    DeletedAssessmentError,
    IllegalTransitionError,
    StaleVersionError,
)
from autocoder_components.assessments.lifecycle.requests import NewAssessment, is_same_request
from autocoder_components.assessments.lifecycle.states import (
    TRANSITIONS,
    Action,
    Actor,
    AssessmentState,
    AuditEntry,
    Outline,
    Policy,
    State,
)
from autocoder_components.assessments.lifecycle.stored import StoredJson
from autocoder_components.assessments.lifecycle.tables import (
    assessment_metrics,
    assessment_state_audit,
    assessment_states,
)
from autocoder_components.assessments.reports.text import visible

CHANNEL: Final = "autocoder_assessments"
"""The channel on which PostgreSQL tells the ids of assessments that changed."""
OUTLINE: Final = tuple(each.name for each in fields(Outline))
"""The columns of `assessment_states` that say how an assessment stands: all but what may be large."""
_states: Final = assessment_states.c
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REQUEUED: Final[Mapping[str, Any]] = {
    "progress": 0,
    "message": None,
    "error_message": None,
    "started_at": None,
    "deadline_at": None,
    "completed_at": None,
    "next_retry_at": None,
}
_NEW: Final = (
    *("assessment_id", "assessment_type", "source", "server_name", "request_data", "priority", "claim_rank"),
    *("max_retries", "timeout_seconds", "created_at", "updated_at"),
)
_CURES: Final = {
    State.PENDING: "it has not been started",
    State.PROCESSING: "it is being worked on; cancel it first, or wait",
    State.COMPLETED: "it has its verdict, which stays; create another one",
    State.FAILED: "it has failed; `autocoder assessments retry` gives it another attempt",
    State.CANCELLED: "it was cancelled; create another one",
}


@dataclass(frozen=True, slots=True)
class Context:
    """Who changes something, when, and by what rules."""

    actor: Actor
    moment: datetime
    policy: Policy


def claim_rank(moment: datetime, priority: int, policy: Policy) -> int:
    """The place in the order of claims, lowest first: arrival in microseconds plus so much for each step of priority."""
    return round(((moment - _EPOCH) + timedelta(seconds=policy.ageing * priority)) / timedelta(microseconds=1))


def outline_of(row: Any) -> Outline:
    """What lists show of a row of `assessment_states`: its OUTLINE."""
    return Outline(**_outline(row))


def state_of(row: Any) -> AssessmentState:
    """A row of `assessment_states` as its readers see it."""
    result = None if row.result_data is None else StoredJson(row.result_data)
    return AssessmentState(**_outline(row), request=StoredJson(row.request_data), result=result)


def _outline(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in OUTLINE} | {"state": State(row.state)}


def entry_of(row: Any) -> AuditEntry:
    """A row of `assessment_state_audit` as its readers see it."""
    values = dict(row._mapping)
    values["old_state"] = None if row.old_state is None else State(row.old_state)
    values["new_state"] = State(row.new_state)
    values["context"] = None if row.context is None else json.loads(row.context)
    return AuditEntry(**values)


async def found(connection: AsyncConnection, assessment_id: str, *, lock: bool = False) -> AssessmentState:
    """The assessment, with `lock` held until the transaction ends. Raises AssessmentNotFoundError."""
    refuse_no_id(assessment_id)
    query = sa.select(assessment_states).where(assessment_states.c.assessment_id == assessment_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise AssessmentNotFoundError(assessment_id)
    return state_of(row)


def refuse_unless(before: AssessmentState, new: State, *, version: int | None = None) -> None:
    """Raise StaleVersionError or IllegalTransitionError unless the lifecycle has this way."""
    if version is not None and before.version != version:
        raise StaleVersionError(before.assessment_id, version, before.version)
    if (before.state, new) not in TRANSITIONS:
        cure = _CURES[before.state]
        raise IllegalTransitionError(before.assessment_id, before.state, new, before.version, cure)


async def change(
    connection: AsyncConnection,
    context: Context,
    before: AssessmentState,
    new: State,
    action: Action,
    *,
    reason: str | None = None,
    **values: Any,
) -> None:
    """Change the state of an assessment, which is as `before` says, with its audit row, metrics and wake-up.

    Raises IllegalTransitionError where the lifecycle has no such way, StaleVersionError where the row is not as `before`.
    """
    refuse_unless(before, new)
    table = assessment_states.c
    changed = await connection.execute(
        sa.update(assessment_states)
        .where(
            table.assessment_id == before.assessment_id, table.version == before.version, table.state == before.state
        )
        .values(state=new, version=before.version + 1, updated_at=context.moment, **values)
    )
    if changed.rowcount != 1:
        now = await found(connection, before.assessment_id)
        raise StaleVersionError(before.assessment_id, before.version, now.version)
    reached("transition.changed")
    row = audit_row(context, before, action, new, reason)
    await connection.execute(sa.insert(assessment_state_audit), [row])
    reached("transition.noted")
    measured = _metrics(context, before, new)
    if measured:
        await connection.execute(sa.insert(assessment_metrics), measured)
    await tell(connection, [before.assessment_id])


def audit_row(
    context: Context, before: AssessmentState, action: Action, new: State, reason: str | None
) -> dict[str, Any]:
    """What the trail keeps of a change; where the state stays, the version does."""
    version_to = before.version if new is before.state else before.version + 1
    return _trail(context, before.assessment_id, action, new, reason) | {
        "old_state": before.state,
        "version_from": before.version,
        "version_to": version_to,
    }


def _trail(context: Context, assessment_id: str, action: Action, new: State, reason: str | None) -> dict[str, Any]:
    actor, keeps = context.actor, context.policy.keep_addresses
    return {
        "assessment_id": assessment_id,
        "new_state": new,
        "changed_by": actor.name,
        "change_reason": None if reason is None else storable(reason),
        "change_action": action,
        "created_at": context.moment,
        "context": None if actor.context is None else json.dumps(actor.context, sort_keys=True),
        "ip_address": actor.ip_address if keeps else None,
        "user_agent": visible(actor.user_agent) if keeps and actor.user_agent is not None else None,
    }


def started(before: AssessmentState, moment: datetime) -> dict[str, Any]:
    """The columns of an attempt that begins."""
    return {"started_at": moment, "deadline_at": moment + timedelta(seconds=before.timeout_seconds)}


def requeued(before: AssessmentState, context: Context) -> dict[str, Any]:
    """The columns of an assessment that waits for its next attempt."""
    rank = claim_rank(context.moment, before.priority, context.policy)
    return {**_REQUEUED, "retry_count": before.retry_count + 1, "claim_rank": rank}


def _metrics(context: Context, before: AssessmentState, new: State) -> list[dict[str, Any]]:
    moment, measured = context.moment, list[tuple[str, float, str]]()
    if new is State.PROCESSING and before.retry_count == 0:
        measured.append(("queue_time", (moment - before.created_at).total_seconds(), "seconds"))
    if before.state is State.PROCESSING and before.started_at is not None:
        measured.append(("processing_time", (moment - before.started_at).total_seconds(), "seconds"))
    if new is State.FAILED:
        measured.append(("error_count", 1, "errors"))
    if new is State.PENDING:
        measured.append(("retry_count", before.retry_count + 1, "retries"))
    return [
        {
            "assessment_id": before.assessment_id,
            "metric_type": kind,
            "metric_value": value,
            "metric_unit": unit,
            "timestamp": moment,
        }
        for kind, value, unit in measured
    ]


async def tell(connection: AsyncConnection, assessment_ids: Sequence[str]) -> None:
    """Wake who waits for these assessments when the transaction commits; on SQLite they look for themselves."""
    if connection.dialect.name == "postgresql":
        ids = sa.func.unnest(sa.cast(list(assessment_ids), postgresql.ARRAY(sa.Text)))
        await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, ids)))


async def insert_new(connection: AsyncConnection, context: Context, wanted: Sequence[NewAssessment]) -> list[str]:
    """Insert assessments with their audit rows; returns the ids that were not there before, in order.

    Raises ConflictingRequestError where an id is taken by another request, DeletedAssessmentError where it was by one that is
    deleted.
    """
    first: dict[str, NewAssessment] = {}
    for each in wanted:
        if not is_same_request(first.setdefault(each.assessment_id, each).data, each.data):
            raise ConflictingRequestError(each.assessment_id)
    rows = [_new_row(each, context) for each in first.values()]
    begun = {"old_state": None, "version_from": None, "version_to": 1}
    trail = {each: _trail(context, each, Action.CREATE, State.PENDING, None) | begun for each in first}
    if len(rows) == 1 and connection.dialect.name == "postgresql":
        # A trip to the server less, of five: most assessments are created one by one.
        (entry,) = trail.values()
        given = {f"new_{name}": value for name, value in rows[0].items()}
        given |= {f"trail_{name}": value for name, value in entry.items()}
        (new,) = first.values()
        statement = _CREATE_ONE_NAMED if new.is_named else _CREATE_ONE
        made = set((await connection.execute(statement, given)).scalars())
    else:
        made = await insert_unless_there(connection, rows, [each for each in first if first[each].is_named])
        if made:
            entries = [trail[each] for each in first if each in made]
            await connection.execute(sa.insert(assessment_state_audit), entries)
    reached("create.inserted")
    await _refuse_others(connection, [each for each in first.values() if each.assessment_id not in made])
    return [each for each in first if each in made]


async def insert_unless_there(
    connection: AsyncConnection, rows: Sequence[Mapping[str, Any]], named: Sequence[str]
) -> set[str]:
    """Insert rows of assessments that have no trail yet; returns the ids of those.

    `named` are the ids that need the look: one that was made up has no trail. What is there and what was is told apart by
    who finds it missing in the result; before, it might change between the two looks.
    """
    known = await with_trail(connection, named)
    fresh = [each for each in rows if each["assessment_id"] not in known]
    if not fresh:
        return set()
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(assessment_states).on_conflict_do_nothing(index_elements=["assessment_id"])
    return set((await connection.execute(insert.returning(_states.assessment_id), fresh)).scalars())


async def with_trail(connection: AsyncConnection, assessment_ids: Sequence[str]) -> set[str]:
    """Those of these ids of which the audit trail knows: that are there, or were and are deleted."""
    known, trail = set[str](), assessment_state_audit.c.assessment_id
    for at in range(0, len(assessment_ids), 500):
        query = sa.select(trail).where(trail.in_(assessment_ids[at : at + 500])).distinct()
        known.update((await connection.execute(query)).scalars())
    return known


def _create_one(*, is_named: bool) -> sa.Insert:
    """An assessment and its first audit row in one statement of PostgreSQL, unless its id is taken, or was."""
    values_of = [sa.bindparam(f"new_{name}", type_=_states[name].type) for name in _NEW]
    row = sa.select(*(sa.cast(each, each.type) for each in values_of))
    if is_named:
        mine = assessment_state_audit.c.assessment_id == sa.bindparam("new_assessment_id", type_=sa.Text())
        row = row.where(~sa.select(assessment_state_audit.c.id).where(mine).exists())
    insert = postgresql.insert(assessment_states).from_select(list(_NEW), row)
    insert = insert.on_conflict_do_nothing(index_elements=["assessment_id"])
    made = insert.returning(_states.assessment_id).cte("made")
    entry = [each for each in assessment_state_audit.c if each.name not in ("id", "assessment_id")]
    values = [sa.bindparam(f"trail_{each.name}", type_=each.type) for each in entry]
    chosen = sa.select(made.c.assessment_id, *(sa.cast(each, each.type) for each in values))
    names = ["assessment_id", *(each.name for each in entry)]
    trail = sa.insert(assessment_state_audit).from_select(names, chosen)
    return trail.returning(assessment_state_audit.c.assessment_id)


_CREATE_ONE: Final = _create_one(is_named=False)
_CREATE_ONE_NAMED: Final = _create_one(is_named=True)


def _new_row(new: NewAssessment, context: Context) -> dict[str, Any]:
    return {
        "assessment_id": new.assessment_id,
        "assessment_type": new.assessment_type,
        "source": new.source,
        "server_name": new.server_name,
        "request_data": new.data,
        "priority": new.priority,
        "claim_rank": claim_rank(context.moment, new.priority, context.policy),
        "max_retries": new.max_retries,
        "timeout_seconds": new.timeout_seconds,
        "created_at": context.moment,
        "updated_at": context.moment,
    }


async def _refuse_others(connection: AsyncConnection, taken: Sequence[NewAssessment]) -> None:
    table, wanted = assessment_states.c, {each.assessment_id: each.data for each in taken}
    ids, there = list(wanted), set[str]()
    for at in range(0, len(ids), 500):
        query = sa.select(table.assessment_id, table.request_data).where(table.assessment_id.in_(ids[at : at + 500]))
        for row in await connection.execute(query):
            if not is_same_request(wanted[row.assessment_id], row.request_data):
                raise ConflictingRequestError(row.assessment_id)
            there.add(row.assessment_id)
    for assessment_id in ids:
        if assessment_id not in there:
            raise DeletedAssessmentError(assessment_id)
