"""Changes of assessments as plain statements, for sinks: they are executed with the epoch that caused them.

A sink learns nothing from its statements, so each of them carries its condition: what is in another state or attempt by the
time of the commit is left alone, and the trail notes a result that came too late. Locked first, in the order of their ids,
a row cannot change between the statement that tells of a change and the one that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from autocoder import Instant, JsonText, Statement
from autocoder_components.assessments.lifecycle.rows import CHANNEL
from autocoder_components.assessments.lifecycle.states import Action, State
from autocoder_components.assessments.lifecycle.tables import (
    SecondsBetween,
    assessment_metrics,
    assessment_state_audit,
    assessment_states,
)

_states: Final = assessment_states.c
_OF_ATTEMPT: Final = sa.and_(
    _states.assessment_id == sa.bindparam("of_id", type_=sa.Text()),
    _states.retry_count == sa.bindparam("of_attempt", type_=sa.Integer()),
)
_ACTOR: Final = sa.bindparam("actor", type_=sa.Text())
_MOMENT: Final = sa.bindparam("moment", type_=Instant())
_TRAIL: Final = (
    "assessment_id",
    "old_state",
    "new_state",
    "version_from",
    "version_to",
    "changed_by",
    "change_action",
    "change_reason",
    "created_at",
)
_MEASURED: Final = ("assessment_id", "metric_type", "metric_value", "metric_unit", "timestamp")
Rows = Sequence[Mapping[str, Any]]


def claims(rows: Rows, *, postgres: bool) -> Iterator[Statement]:
    """Pending to processing. Each row has `of_id`, `of_attempt`, `moment`, `deadline` and `actor`."""
    waits = sa.and_(_OF_ATTEMPT, _states.state == sa.literal_column("'pending'"))
    first = sa.and_(waits, _states.retry_count == 0)
    shared = _without(rows, "deadline")
    yield _lock(rows)
    yield Statement(_noted(waits, State.PROCESSING, Action.START), shared)
    yield Statement(_measured(first, "queue_time", _states.created_at), _without(rows, "deadline", "actor"))
    begun = {"started_at": _MOMENT, "deadline_at": sa.bindparam("deadline", type_=Instant())}
    yield Statement(_moved(waits, State.PROCESSING, **begun), _without(rows, "actor"))
    if postgres:
        yield _told(rows)


def verdicts(rows: Rows, *, postgres: bool) -> Iterator[Statement]:
    """Processing to completed. Each row has `of_id`, `of_attempt`, `moment`, `actor` and `result`, which is JSON."""
    worked_on = sa.and_(_OF_ATTEMPT, _states.state == sa.literal_column("'processing'"))
    late = sa.and_(
        _states.assessment_id == sa.bindparam("of_id", type_=sa.Text()),
        sa.or_(
            _states.state != sa.literal_column("'processing'"),
            _states.retry_count != sa.bindparam("of_attempt", type_=sa.Integer()),
        ),
    )
    shared = _without(rows, "result")
    yield _lock(rows)
    yield Statement(_noted(late, None, Action.LATE_RESULT, "a verdict of an attempt that does not count"), shared)
    yield Statement(_noted(worked_on, State.COMPLETED, Action.COMPLETE), shared)
    yield Statement(_measured(worked_on, "processing_time", _states.started_at), _without(shared, "actor"))
    ended = {
        "completed_at": _MOMENT,
        "result_data": sa.bindparam("result", type_=JsonText()),
        "progress": 100,
        "message": None,
    }
    yield Statement(_moved(worked_on, State.COMPLETED, **ended), _without(rows, "actor"))
    if postgres:
        yield _told(rows)


def _without(rows: Rows, *names: str) -> Rows:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def _ids(rows: Rows) -> list[str]:
    return sorted({row["of_id"] for row in rows})


def _lock(rows: Rows) -> Statement:
    chosen = sa.select(_states.id).where(_states.assessment_id.in_(_ids(rows)))
    return Statement(chosen.order_by(_states.assessment_id).with_for_update())


def _told(rows: Rows) -> Statement:
    ids = sa.func.unnest(sa.cast(_ids(rows), postgresql.ARRAY(sa.Text)))
    return Statement(sa.select(sa.func.pg_notify(CHANNEL, ids)))


def _noted(which: sa.ColumnElement[bool], new: State | None, action: Action, reason: str | None = None) -> sa.Insert:
    """The audit rows of a change, or with `new` None of something that changes nothing."""
    change = sa.select(
        _states.assessment_id,
        _states.state,
        _states.state if new is None else _text(new),
        _states.version,
        _states.version if new is None else _states.version + 1,
        _ACTOR,
        _text(action),
        sa.null() if reason is None else _text(reason),
        _MOMENT,
    )
    return sa.insert(assessment_state_audit).from_select(_TRAIL, change.where(which))


def _measured(which: sa.ColumnElement[bool], metric: str, since: sa.ColumnElement[Any]) -> sa.Insert:
    value = SecondsBetween(since, _MOMENT)
    row = sa.select(_states.assessment_id, _text(metric), value, _text("seconds"), _MOMENT)
    return sa.insert(assessment_metrics).from_select(_MEASURED, row.where(which))


def _moved(which: sa.ColumnElement[bool], new: State, **values: Any) -> sa.Update:
    moved = {"state": new.value, "version": _states.version + 1, "updated_at": _MOMENT}
    return sa.update(assessment_states).where(which).values(**moved, **values)


def _text(value: str) -> sa.ColumnElement[str]:
    """A text of our own in a statement, with a type, which PostgreSQL cannot guess for a parameter."""
    return sa.cast(sa.literal_column(f"'{value}'"), sa.Text())
