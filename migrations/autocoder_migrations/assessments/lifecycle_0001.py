"""The tables of assessments: states, audit trail, metrics, and three views.

Types, constraints and views are spelled out here and not taken from the definition, which later versions change.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "assessments_0001"
down_revision = None
branch_labels = ("assessments",)
depends_on = "0001"

INSTANT: Final = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
JSON_TEXT: Final = sa.Text().with_variant(postgresql.JSON(), "postgresql")
KEY: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATES: Final = "'pending', 'processing', 'completed', 'failed', 'cancelled'"
ENDS: Final = "'completed', 'failed', 'cancelled'"
ACTIONS: Final = (
    "'create', 'start', 'progress', 'complete', 'fail', 'timeout', 'cancel', 'retry', 'rescue', 'late_result', 'import'"
)
VIEWS: Final = ("active_assessments", "completed_assessments_summary", "assessment_stats_by_hour")
GUARD_AND_VIEWS: Final = {
    "sqlite": (
        (
            "CREATE TRIGGER assessment_states_guard BEFORE UPDATE ON assessment_states WHEN (NEW.state <> OLD.state AND "
            "(NEW.version <> OLD.version + 1 OR NOT ((OLD.state = 'pending' AND NEW.state = 'processing') OR (OLD.state = "
            "'pending' AND NEW.state = 'cancelled') OR (OLD.state = 'processing' AND NEW.state = 'completed') OR (OLD.state"
            " = 'processing' AND NEW.state = 'failed') OR (OLD.state = 'processing' AND NEW.state = 'cancelled') OR "
            "(OLD.state = 'processing' AND NEW.state = 'pending') OR (OLD.state = 'failed' AND NEW.state = 'pending')))) OR"
            " (NEW.state = OLD.state AND NEW.version <> OLD.version) OR NEW.assessment_id <> OLD.assessment_id OR "
            "NEW.created_at <> OLD.created_at OR NEW.request_data <> OLD.request_data BEGIN SELECT RAISE(ABORT, 'an "
            "assessment changes its state along its lifecycle, with the next version, and never its request'); END"
        ),
        (
            "CREATE VIEW active_assessments AS SELECT assessment_states.assessment_id, assessment_states.state, "
            "assessment_states.progress, assessment_states.message, assessment_states.priority, "
            "assessment_states.created_at, assessment_states.updated_at, assessment_states.deadline_at, "
            "assessment_states.timeout_seconds, ((CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000) - "
            "(assessment_states.created_at)) / 1000000.0 AS age_seconds, ((CAST((julianday('now') - 2440587.5) * 86400000.0"
            " AS INTEGER) * 1000) - (assessment_states.started_at)) / 1000000.0 AS duration_seconds FROM assessment_states "
            "WHERE assessment_states.state IN ('pending', 'processing')"
        ),
        (
            "CREATE VIEW completed_assessments_summary AS SELECT assessment_states.state, count(*) AS count, "
            "min(assessment_states.completed_at) AS earliest_completed, max(assessment_states.completed_at) AS "
            "latest_completed, avg(((assessment_states.completed_at) - (assessment_states.started_at)) / 1000000.0) AS "
            "avg_duration_seconds FROM assessment_states WHERE assessment_states.completed_at IS NOT NULL GROUP BY "
            "assessment_states.state"
        ),
        (
            "CREATE VIEW assessment_stats_by_hour AS SELECT (assessment_states.created_at - assessment_states.created_at % "
            "3600000000) AS hour, assessment_states.state, count(*) AS count FROM assessment_states GROUP BY "
            "(assessment_states.created_at - assessment_states.created_at % 3600000000), assessment_states.state"
        ),
    ),
    "postgresql": (
        (
            "CREATE FUNCTION assessment_states_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'an "
            "assessment changes its state along its lifecycle, with the next version, and never its request' USING ERRCODE "
            "= 'check_violation'; END $$"
        ),
        (
            "CREATE TRIGGER assessment_states_guard BEFORE UPDATE ON assessment_states FOR EACH ROW WHEN ((NEW.state <> "
            "OLD.state AND (NEW.version <> OLD.version + 1 OR NOT ((OLD.state = 'pending' AND NEW.state = 'processing') OR "
            "(OLD.state = 'pending' AND NEW.state = 'cancelled') OR (OLD.state = 'processing' AND NEW.state = 'completed') "
            "OR (OLD.state = 'processing' AND NEW.state = 'failed') OR (OLD.state = 'processing' AND NEW.state = "
            "'cancelled') OR (OLD.state = 'processing' AND NEW.state = 'pending') OR (OLD.state = 'failed' AND NEW.state = "
            "'pending')))) OR (NEW.state = OLD.state AND NEW.version <> OLD.version) OR NEW.assessment_id <> "
            "OLD.assessment_id OR NEW.created_at <> OLD.created_at OR NEW.request_data::text <> OLD.request_data::text) "
            "EXECUTE FUNCTION assessment_states_guard()"
        ),
        (
            "CREATE VIEW active_assessments AS SELECT assessment_states.assessment_id, assessment_states.state, "
            "assessment_states.progress, assessment_states.message, assessment_states.priority, "
            "assessment_states.created_at, assessment_states.updated_at, assessment_states.deadline_at, "
            "assessment_states.timeout_seconds, EXTRACT(EPOCH FROM now() - assessment_states.created_at)::double precision "
            "AS age_seconds, EXTRACT(EPOCH FROM now() - assessment_states.started_at)::double precision AS duration_seconds"
            " FROM assessment_states WHERE assessment_states.state IN ('pending', 'processing')"
        ),
        (
            "CREATE VIEW completed_assessments_summary AS SELECT assessment_states.state, count(*) AS count, "
            "min(assessment_states.completed_at) AS earliest_completed, max(assessment_states.completed_at) AS "
            "latest_completed, avg(EXTRACT(EPOCH FROM assessment_states.completed_at - "
            "assessment_states.started_at)::double precision) AS avg_duration_seconds FROM assessment_states WHERE "
            "assessment_states.completed_at IS NOT NULL GROUP BY assessment_states.state"
        ),
        (
            "CREATE VIEW assessment_stats_by_hour AS SELECT date_trunc('hour', assessment_states.created_at, 'UTC') AS "
            "hour, assessment_states.state, count(*) AS count FROM assessment_states GROUP BY date_trunc('hour', "
            "assessment_states.created_at, 'UTC'), assessment_states.state"
        ),
    ),
}


def upgrade() -> None:
    _create_states()
    _index_states()
    _create_audit()
    _create_metrics()
    for statement in GUARD_AND_VIEWS[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    for view in VIEWS:
        op.execute(f"DROP VIEW {view}")
    for table in ("assessment_metrics", "assessment_state_audit", "assessment_states"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION assessment_states_guard()")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _json(table: str, column: str) -> sa.CheckConstraint:
    """What the type `json` does on PostgreSQL."""
    return _check(table, f"{column}_json", f"{column} IS NULL OR json_valid({column})").ddl_if(dialect="sqlite")


def _where(text: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(text), "postgresql_where": sa.text(text)}


def _create_states() -> None:
    table = "assessment_states"
    op.create_table(
        table,
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("assessment_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, server_default="pending"),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("assessment_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("server_name", sa.Text()),
        sa.Column("request_data", JSON_TEXT, nullable=False),
        sa.Column("result_data", JSON_TEXT),
        sa.Column("error_message", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.Column("progress", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("priority", sa.Integer(), nullable=False, server_default="5"),
        sa.Column("claim_rank", sa.BigInteger(), nullable=False),
        sa.Column("retry_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("max_retries", sa.Integer(), nullable=False, server_default="3"),
        sa.Column("next_retry_at", INSTANT),
        sa.Column("timeout_seconds", sa.Double(), nullable=False, server_default="300"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT),
        sa.Column("deadline_at", INSTANT),
        sa.Column("completed_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_assessment_states"),
        _check(table, "assessment_id", "length(assessment_id) BETWEEN 1 AND 255"),
        _check(table, "state", f"state IN ({STATES})"),
        _check(table, "version", "version >= 1"),
        _check(table, "progress", "progress BETWEEN 0 AND 100"),
        _check(table, "priority", "priority BETWEEN 1 AND 10"),
        _check(table, "retries", "retry_count >= 0 AND max_retries >= 0 AND retry_count <= max_retries"),
        _check(table, "timeout", "timeout_seconds > 0 AND timeout_seconds <= 86400"),
        _check(table, "terminal", f"(state IN ({ENDS})) = (completed_at IS NOT NULL)"),
        _check(
            table,
            "completed",
            "state <> 'completed' OR (progress = 100 AND result_data IS NOT NULL AND error_message IS NULL)",
        ),
        _check(table, "failed", "state <> 'failed' OR error_message IS NOT NULL"),
        _check(table, "processing", "state <> 'processing' OR (started_at IS NOT NULL AND deadline_at IS NOT NULL)"),
        _check(
            table,
            "pending",
            "state <> 'pending' OR (progress = 0 AND started_at IS NULL AND deadline_at IS NULL AND result_data IS NULL)",
        ),
        _check(table, "next_retry", "next_retry_at IS NULL OR state = 'failed'"),
        _json(table, "request_data"),
        _json(table, "result_data"),
        sa.UniqueConstraint("assessment_id", name="uq_assessment_states_assessment_id"),
        sqlite_autoincrement=True,
    )


def _index_states() -> None:
    table = "assessment_states"
    op.create_index("ix_assessment_states_claim", table, ["claim_rank", "id"], **_where("state = 'pending'"))
    op.create_index("ix_assessment_states_deadline", table, ["deadline_at"], **_where("state = 'processing'"))
    op.create_index("ix_assessment_states_retry", table, ["next_retry_at"], **_where("next_retry_at IS NOT NULL"))
    op.create_index(
        "ix_assessment_states_finished", table, ["completed_at", "id"], **_where("completed_at IS NOT NULL")
    )
    op.create_index("ix_assessment_states_state", table, ["state", "id"])
    op.create_index("ix_assessment_states_server", table, ["server_name", "id"])


def _create_audit() -> None:
    table = "assessment_state_audit"
    op.create_table(
        table,
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("assessment_id", sa.Text(), nullable=False),
        sa.Column("old_state", sa.Text()),
        sa.Column("new_state", sa.Text(), nullable=False),
        sa.Column("version_from", sa.Integer()),
        sa.Column("version_to", sa.Integer(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("change_reason", sa.Text()),
        sa.Column("change_action", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("context", JSON_TEXT),
        sa.Column("ip_address", sa.Text()),
        sa.Column("user_agent", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_assessment_state_audit"),
        _check(table, "old_state", f"old_state IN ({STATES})"),
        _check(table, "new_state", f"new_state IN ({STATES})"),
        _check(table, "begins", "(old_state IS NULL) = (version_from IS NULL)"),
        _check(table, "change_action", f"change_action IN ({ACTIONS})"),
        _json(table, "context"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_assessment_state_audit_assessment", table, ["assessment_id", "id"])
    op.create_index("ix_assessment_state_audit_created", table, ["created_at"])
    op.create_index("ix_assessment_state_audit_transition", table, ["old_state", "new_state", "id"])
    op.create_index("ix_assessment_state_audit_changed_by", table, ["changed_by", "id"])


def _create_metrics() -> None:
    table = "assessment_metrics"
    op.create_table(
        table,
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("assessment_id", sa.Text(), nullable=False),
        sa.Column("metric_type", sa.Text(), nullable=False),
        sa.Column("metric_value", sa.Double(), nullable=False),
        sa.Column("metric_unit", sa.Text(), nullable=False),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_assessment_metrics"),
        _check(table, "metric_type", "metric_type IN ('queue_time', 'processing_time', 'error_count', 'retry_count')"),
        sa.ForeignKeyConstraint(
            ["assessment_id"],
            ["assessment_states.assessment_id"],
            name="fk_assessment_metrics_assessment_id",
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_assessment_metrics_assessment", table, ["assessment_id"])
    op.create_index("ix_assessment_metrics_type", table, ["metric_type", "timestamp"])
