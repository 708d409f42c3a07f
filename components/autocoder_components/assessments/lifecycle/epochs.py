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
_THIS: Final = _states.assessment_id == sa.bindparam("of_id", type_=sa.Text())
_COUNTED: Final = _states.retry_count == sa.bindparam("of_attempt", type_=sa.Integer())
_WAITS: Final = sa.and_(_THIS, _COUNTED, _states.state == sa.literal_column("'pending'"))
_WORKED_ON: Final = sa.and_(_COUNTED, _states.state == sa.literal_column("'processing'"))
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
    shared = _without(rows, "deadline")
    yield from _locked(rows, postgres=postgres)
    yield Statement(_CLAIM_NOTED, shared)
    yield Statement(_CLAIM_MEASURED, _without(rows, "deadline", "actor"))
    yield Statement(_CLAIM_MOVED, _without(rows, "actor"))
    if postgres:
        yield _told(rows)


def progress(rows: Rows, *, postgres: bool) -> Iterator[Statement]:
    """How far attempts are. Each row has `of_id`, `of_attempt`, `moment`, `percent` and `said`, the message."""
    yield from _locked(rows, postgres=postgres)
    yield Statement(_PROGRESSED, rows)


def verdicts(rows: Rows, *, postgres: bool) -> Iterator[Statement]:
    """Processing to completed. Each row has `of_id`, `of_attempt`, `moment`, `actor` and `result`, which is JSON."""
    shared = _without(rows, "result")
    yield from _locked(rows, postgres=postgres)
    yield Statement(_VERDICT_NOTED, shared)
    yield Statement(_VERDICT_MEASURED, _without(shared, "actor"))
    yield Statement(_VERDICT_MOVED, _without(rows, "actor"))
    if postgres:
        yield _told(rows)


def _without(rows: Rows, *names: str) -> Rows:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def _ids(rows: Rows) -> list[str]:
    return sorted({row["of_id"] for row in rows})


def _locked(rows: Rows, *, postgres: bool) -> Iterator[Statement]:
    """Hold the rows until the commit; on SQLite nobody else writes meanwhile."""
    if postgres:
        chosen = sa.select(_states.id).where(_states.assessment_id.in_(_ids(rows)))
        yield Statement(chosen.order_by(_states.assessment_id).with_for_update())


def _told(rows: Rows) -> Statement:
    ids = sa.func.unnest(sa.cast(_ids(rows), postgresql.ARRAY(sa.Text)))
    return Statement(sa.select(sa.func.pg_notify(CHANNEL, ids)))


def _noted(which: sa.ColumnElement[bool], new: State, action: Action) -> sa.Insert:
    """The audit rows of a change."""
    change = _entry(_text(new), _states.version + 1, _text(action), sa.null())
    return sa.insert(assessment_state_audit).from_select(_TRAIL, change.where(which))


def _judged(counts: sa.ColumnElement[bool]) -> sa.Insert:
    """The audit rows of verdicts, of those that count and of those that come too late and change nothing."""

    def either(then: Any, otherwise: Any) -> sa.ColumnElement[Any]:
        return sa.case((counts, then), else_=otherwise)

    change = _entry(
        either(_text(State.COMPLETED), _states.state),
        either(_states.version + 1, _states.version),
        either(_text(Action.COMPLETE), _text(Action.LATE_RESULT)),
        either(sa.null(), _text("a verdict of an attempt that does not count")),
    )
    return sa.insert(assessment_state_audit).from_select(_TRAIL, change.where(_THIS))


def _entry(new: Any, version: Any, action: Any, reason: Any) -> sa.Select[Any]:
    columns = (_states.assessment_id, _states.state, new, _states.version, version, _ACTOR, action, reason, _MOMENT)
    return sa.select(*columns)


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


# Made once: to make a statement takes SQLAlchemy longer than to execute it.
_CLAIM_NOTED: Final = _noted(_WAITS, State.PROCESSING, Action.START)
_CLAIM_MEASURED: Final = _measured(sa.and_(_WAITS, _states.retry_count == 0), "queue_time", _states.created_at)
_CLAIM_MOVED: Final = _moved(
    _WAITS, State.PROCESSING, started_at=_MOMENT, deadline_at=sa.bindparam("deadline", type_=Instant())
)
_PERCENT: Final = sa.bindparam("percent", type_=sa.Integer())
_PROGRESSED: Final = (
    sa.update(assessment_states)
    .where(_THIS, _WORKED_ON, _states.progress < _PERCENT)
    .values(progress=_PERCENT, message=sa.bindparam("said", type_=sa.Text()), updated_at=_MOMENT)
)
_VERDICT_NOTED: Final = _judged(_WORKED_ON)
_VERDICT_MEASURED: Final = _measured(sa.and_(_THIS, _WORKED_ON), "processing_time", _states.started_at)
_VERDICT_MOVED: Final = _moved(
    sa.and_(_THIS, _WORKED_ON),
    State.COMPLETED,
    completed_at=_MOMENT,
    result_data=sa.bindparam("result", type_=JsonText()),
    progress=100,
    message=None,
)
