"""The tables and views of the lifecycle, defined once for both databases. The migrations are held to exactly this.

The database itself refuses what the lifecycle does not know: triggers let a state change only along TRANSITIONS, with the
next version, and never touch the request. (An exclusion constraint compares rows, not a row with what it was before.)
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, MetaData, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateView
from sqlalchemy.sql.functions import FunctionElement

from autocoder import Instant, JsonText
from autocoder_components.assessments.lifecycle.states import TERMINAL, TRANSITIONS, Action, State

REVISION: Final = "assessments_0003"
"""The newest revision of the pack's branch of migrations, which this definition equals."""
HOMES: Final = ("store", "legacy")
METRICS: Final = ("queue_time", "processing_time", "error_count", "retry_count")
LONGEST_ID: Final = 255
LONGEST_TIMEOUT: Final = 86_400
_KEY: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _listed(values: Any) -> str:
    return ", ".join(f"'{each}'" for each in values)


def _json(*columns: str) -> tuple[CheckConstraint, ...]:
    """SQLite's part of what the type `json` does on PostgreSQL; older versions call NULL invalid."""
    return tuple(
        CheckConstraint(f"{column} IS NULL OR json_valid({column})", name=f"{column}_json").ddl_if(dialect="sqlite")
        for column in columns
    )


def _where(text: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(text), "postgresql_where": sa.text(text)}


# One row an assessment. `claim_rank` orders what waits: the moment of its arrival plus so much for each step of priority, so
# that waiting makes up for a low one (ageing) and the order never has to be computed anew.
assessment_states = Table(
    "assessment_states",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("assessment_id", sa.Text, nullable=False, unique=True),
    Column("state", sa.Text, nullable=False, server_default="pending"),
    Column("version", sa.Integer, nullable=False, server_default="1"),
    Column("assessment_type", sa.Text, nullable=False),
    Column("source", sa.Text, nullable=False),
    Column("server_name", sa.Text),
    Column("request_data", JsonText, nullable=False),
    Column("result_data", JsonText),
    Column("error_message", sa.Text),
    Column("message", sa.Text),
    Column("progress", sa.Integer, nullable=False, server_default="0"),
    Column("priority", sa.Integer, nullable=False, server_default="5"),
    Column("claim_rank", sa.BigInteger, nullable=False),
    Column("retry_count", sa.Integer, nullable=False, server_default="0"),
    Column("max_retries", sa.Integer, nullable=False, server_default="3"),
    Column("next_retry_at", Instant),
    Column("timeout_seconds", sa.Double, nullable=False, server_default="300"),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("deadline_at", Instant),
    Column("completed_at", Instant),
    CheckConstraint(f"length(assessment_id) BETWEEN 1 AND {LONGEST_ID}", name="assessment_id"),
    CheckConstraint(f"state IN ({_listed(State)})", name="state"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
    CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
    CheckConstraint("retry_count >= 0 AND max_retries >= 0 AND retry_count <= max_retries", name="retries"),
    CheckConstraint(f"timeout_seconds > 0 AND timeout_seconds <= {LONGEST_TIMEOUT}", name="timeout"),
    CheckConstraint(f"(state IN ({_listed(TERMINAL)})) = (completed_at IS NOT NULL)", name="terminal"),
    CheckConstraint(
        "state <> 'completed' OR (progress = 100 AND result_data IS NOT NULL AND error_message IS NULL)",
        name="completed",
    ),
    CheckConstraint("state <> 'failed' OR error_message IS NOT NULL", name="failed"),
    CheckConstraint("state <> 'processing' OR (started_at IS NOT NULL AND deadline_at IS NOT NULL)", name="processing"),
    CheckConstraint(
        "state <> 'pending' OR (progress = 0 AND started_at IS NULL AND deadline_at IS NULL AND result_data IS NULL)",
        name="pending",
    ),
    CheckConstraint("next_retry_at IS NULL OR state = 'failed'", name="next_retry"),
    *_json("request_data", "result_data"),
    sqlite_autoincrement=True,
)
Index("ix_assessment_states_claim", "claim_rank", "id", _table=assessment_states, **_where("state = 'pending'"))
Index("ix_assessment_states_deadline", "deadline_at", _table=assessment_states, **_where("state = 'processing'"))
Index("ix_assessment_states_retry", "next_retry_at", _table=assessment_states, **_where("next_retry_at IS NOT NULL"))
Index(
    "ix_assessment_states_finished",
    "completed_at",
    "id",
    _table=assessment_states,
    **_where("completed_at IS NOT NULL"),
)
Index("ix_assessment_states_state", "state", "id", _table=assessment_states)
Index("ix_assessment_states_server", "server_name", "id", _table=assessment_states)

# What happened, in order. No foreign key: the trail outlives the assessment.
assessment_state_audit = Table(
    "assessment_state_audit",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("assessment_id", sa.Text, nullable=False),
    Column("old_state", sa.Text),
    Column("new_state", sa.Text, nullable=False),
    Column("version_from", sa.Integer),
    Column("version_to", sa.Integer, nullable=False),
    Column("changed_by", sa.Text, nullable=False),
    Column("change_reason", sa.Text),
    Column("change_action", sa.Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("context", JsonText),
    Column("ip_address", sa.Text),
    Column("user_agent", sa.Text),
    CheckConstraint(f"old_state IN ({_listed(State)})", name="old_state"),
    CheckConstraint(f"new_state IN ({_listed(State)})", name="new_state"),
    CheckConstraint("(old_state IS NULL) = (version_from IS NULL)", name="begins"),
    CheckConstraint(f"change_action IN ({_listed(Action)})", name="change_action"),
    *_json("context"),
    Index("ix_assessment_state_audit_assessment", "assessment_id", "id"),
    Index("ix_assessment_state_audit_created", "created_at"),
    Index("ix_assessment_state_audit_transition", "old_state", "new_state", "id"),
    Index("ix_assessment_state_audit_changed_by", "changed_by", "id"),
    sqlite_autoincrement=True,
)

# Numbers with their units, measured at the end of an attempt; they go with the assessment.
assessment_metrics = Table(
    "assessment_metrics",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column(
        "assessment_id",
        sa.Text,
        sa.ForeignKey("assessment_states.assessment_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("metric_type", sa.Text, nullable=False),
    Column("metric_value", sa.Double, nullable=False),
    Column("metric_unit", sa.Text, nullable=False),
    Column("timestamp", Instant, nullable=False),
    CheckConstraint(f"metric_type IN ({_listed(METRICS)})", name="metric_type"),
    Index("ix_assessment_metrics_assessment", "assessment_id"),
    Index("ix_assessment_metrics_type", "metric_type", "timestamp"),
    sqlite_autoincrement=True,
)


# Who does an assessment while an older event system is moved from: the first decision for an id is the one that holds, in
# every process. No foreign key: what the older system does has no row here.
assessment_routes = Table(
    "assessment_routes",
    metadata,
    Column("assessment_id", sa.Text, primary_key=True),
    Column("home", sa.Text, nullable=False),
    Column("compared", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("decided_at", Instant, nullable=False),
    Column("decision", JsonText),
    Column("comparison", JsonText),
    CheckConstraint(f"length(assessment_id) BETWEEN 1 AND {LONGEST_ID}", name="assessment_id"),
    CheckConstraint(f"home IN ({_listed(HOMES)})", name="home"),
    CheckConstraint("comparison IS NULL OR compared", name="comparison"),
    *_json("decision", "comparison"),
    Index("ix_assessment_routes_decided", "decided_at"),
    Index("ix_assessment_routes_uncompared", "assessment_id", **_where("compared AND comparison IS NULL")),
)

# The hashes of each server's tools at its last deep scan, and in `previous` what that scan compared them with.
assessment_tools = Table(
    "assessment_tools",
    metadata,
    Column("server_key", sa.Text, primary_key=True),
    Column("assessment_id", sa.Text, nullable=False),
    Column("definitions", sa.Text, nullable=False),
    Column("previous", sa.Text),
)


class SecondsBetween(FunctionElement[float]):
    """`seconds_between(earlier, later)` of two instants."""

    type = sa.Double()
    inherit_cache = True
    name = "seconds_between"


class HourOf(FunctionElement[Any]):
    """The beginning, in UTC, of the hour of an instant."""

    type = Instant()
    inherit_cache = True
    name = "hour_of"


class CurrentInstant(FunctionElement[Any]):
    """The database's clock, to the millisecond at least."""

    type = Instant()
    inherit_cache = True
    name = "current_instant"


@compiles(SecondsBetween, "postgresql")
def _(element: Any, compiler: Any, **options: Any) -> str:
    earlier, later = (compiler.process(each, **options) for each in element.clauses)
    return f"EXTRACT(EPOCH FROM {later} - {earlier})::double precision"


@compiles(SecondsBetween, "sqlite")
def _(element: Any, compiler: Any, **options: Any) -> str:
    earlier, later = (compiler.process(each, **options) for each in element.clauses)
    return f"(({later}) - ({earlier})) / 1000000.0"


@compiles(HourOf, "postgresql")
def _(element: Any, compiler: Any, **options: Any) -> str:
    return f"date_trunc('hour', {compiler.process(element.clauses, **options)}, 'UTC')"


@compiles(HourOf, "sqlite")
def _(element: Any, compiler: Any, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return f"({moment} - {moment} % 3600000000)"


@compiles(CurrentInstant, "postgresql")
def _(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "now()"


@compiles(CurrentInstant, "sqlite")
def _(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000"


_states = assessment_states.c
active_assessments = CreateView(
    sa.select(
        _states.assessment_id,
        _states.state,
        _states.progress,
        _states.message,
        _states.priority,
        _states.created_at,
        _states.updated_at,
        _states.deadline_at,
        _states.timeout_seconds,
        SecondsBetween(_states.created_at, CurrentInstant()).label("age_seconds"),
        SecondsBetween(_states.started_at, CurrentInstant()).label("duration_seconds"),
    ).where(_states.state.in_([sa.literal_column("'pending'"), sa.literal_column("'processing'")])),
    "active_assessments",
    metadata=metadata,
).table
"""What waits or is worked on. `duration_seconds` counts from the start of the attempt, null before."""

completed_assessments_summary = CreateView(
    sa.select(
        _states.state,
        sa.func.count().label("count"),
        sa.func.min(_states.completed_at, type_=Instant()).label("earliest_completed"),
        sa.func.max(_states.completed_at, type_=Instant()).label("latest_completed"),
        sa.func.avg(SecondsBetween(_states.started_at, _states.completed_at), type_=sa.Double()).label(
            "avg_duration_seconds"
        ),
    )
    .where(_states.completed_at.is_not(None))
    .group_by(_states.state),
    "completed_assessments_summary",
    metadata=metadata,
).table
"""What ended, by state. The mean duration is that of the last attempt, of those that were started."""

assessment_stats_by_hour = CreateView(
    sa.select(
        HourOf(_states.created_at).label("hour"),
        _states.state,
        sa.func.count().label("count"),
    ).group_by(HourOf(_states.created_at), _states.state),
    "assessment_stats_by_hour",
    metadata=metadata,
).table
"""How many were created in each hour (UTC), by the state they have now."""

_WAYS: Final = " OR ".join(f"(OLD.state = '{old}' AND NEW.state = '{new}')" for old, new in TRANSITIONS)
_MOVES: Final = f"NEW.state <> OLD.state AND (NEW.version <> OLD.version + 1 OR NOT ({_WAYS}))"
_STAYS: Final = "NEW.state = OLD.state AND NEW.version <> OLD.version"
_FIXED: Final = "NEW.assessment_id <> OLD.assessment_id OR NEW.created_at <> OLD.created_at"
GUARD: Final = "assessment_states_guard"
SAID: Final = "an assessment changes its state along its lifecycle, with the next version, and never its request"

SQLITE_GUARD: Final = (
    f"CREATE TRIGGER {GUARD} BEFORE UPDATE ON assessment_states "
    f"WHEN ({_MOVES}) OR ({_STAYS}) OR {_FIXED} OR NEW.request_data <> OLD.request_data "
    f"BEGIN SELECT RAISE(ABORT, '{SAID}'); END"
)
POSTGRESQL_GUARD: Final = (
    f"CREATE FUNCTION {GUARD}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"RAISE EXCEPTION '{SAID}' USING ERRCODE = 'check_violation'; END $$",
    f"CREATE TRIGGER {GUARD} BEFORE UPDATE ON assessment_states FOR EACH ROW "
    f"WHEN (({_MOVES}) OR ({_STAYS}) OR {_FIXED} OR NEW.request_data::text <> OLD.request_data::text) "
    f"EXECUTE FUNCTION {GUARD}()",
)


def _behind_the_table(statement: str, dialect: str) -> None:
    ddl: Any = sa.DDL  # which has no types
    sa.event.listen(assessment_states, "after_create", ddl(statement.replace("%", "%%")).execute_if(dialect=dialect))


_behind_the_table(SQLITE_GUARD, "sqlite")
for _statement in POSTGRESQL_GUARD:
    _behind_the_table(_statement, "postgresql")
