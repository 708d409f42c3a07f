"""The tables of the first version.

Types and constraints are spelled out here and not taken from the definition, which later versions change.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = ("autocoder",)
depends_on = None

INSTANT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
JSON_TEXT = sa.Text().with_variant(postgresql.JSON(), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STAMP = {
    "postgresql": "clock_timestamp()",
    "sqlite": "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))",
}
SPARE = {"postgresql": "NULL", "sqlite": "'------------------'"}
TABLES = (
    "regions",
    "port_messages",
    "checkpoints",
    "component_state",
    "component_metrics",
    "port_metrics",
    "system_health",
    "sink_storage",
    "savepoint_messages",
    "savepoint_state",
    "schema_version",
)
VIEW = """
SELECT seq, pipeline, target_component, port_name, source_component, message_data, message_metadata, order_key, status,
parked, handle, retry_count, max_retries, next_retry_at, created_at, processed_at, completed_at, replayed, error_type,
error_message, error_details FROM port_messages WHERE status = 'dead_letter'
""".strip().replace("\n", " ")


def upgrade() -> None:
    _create_regions()
    _create_messages()
    _index_messages()
    _create_state()
    _create_metrics()
    _create_storage_and_savepoints()
    op.execute(f"CREATE VIEW dead_letter_queue AS {VIEW}")


def downgrade() -> None:
    op.execute("DROP VIEW dead_letter_queue")
    for table in reversed(TABLES):
        op.drop_table(table)


def _json(table: str, column: str) -> sa.CheckConstraint:
    """What the type `json` does on PostgreSQL."""
    check = sa.CheckConstraint(f"{column} IS NULL OR json_valid({column})", name=op.f(f"ck_{table}_{column}_json"))
    return check.ddl_if(dialect="sqlite")


def _where(text: str, sqlite: str | None = None) -> dict[str, Any]:
    """SQLite uses a partial index only where the query has its very words, which are other ones for a boolean."""
    return {"sqlite_where": sa.text(sqlite or text), "postgresql_where": sa.text(text)}


def _create_regions() -> None:
    op.create_table(
        "regions",
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("owner", sa.Text()),
        sa.Column("expires_at", INSTANT),
        sa.Column("locked", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("epoch", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("unclean_starts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("fingerprint", JSON_TEXT),
        sa.Column("committed_at", INSTANT),
        sa.PrimaryKeyConstraint("pipeline", "region", name="pk_regions"),
        sa.CheckConstraint("token >= 0 AND epoch >= 0 AND unclean_starts >= 0", name=op.f("ck_regions_counts")),
        _json("regions", "fingerprint"),
    )


def _create_messages() -> None:
    op.create_table(
        "port_messages",
        sa.Column("seq", KEY, primary_key=True, autoincrement=True),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("target_component", sa.Text(), nullable=False),
        sa.Column("port_name", sa.Text(), nullable=False),
        sa.Column("source_component", sa.Text(), nullable=False),
        sa.Column("message_data", JSON_TEXT),
        sa.Column("message_metadata", JSON_TEXT),
        sa.Column("order_key", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False, server_default="pending"),
        sa.Column("parked", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("handle", sa.Text()),
        sa.Column("retry_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("max_retries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_retry_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("processed_at", INSTANT),
        sa.Column("completed_at", INSTANT),
        sa.Column("replayed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("error_details", JSON_TEXT),
        sa.Column("spare", sa.Text(), server_default=sa.text(SPARE[op.get_bind().dialect.name])),
        sa.CheckConstraint(
            "status = 'pending' OR status = 'processing' OR status = 'completed' OR status = 'failed' "
            "OR status = 'dead_letter'",
            name=op.f("ck_port_messages_status"),
        ),
        sa.CheckConstraint(
            "retry_count >= 0 AND max_retries >= 0 AND replayed >= 0", name=op.f("ck_port_messages_counts")
        ),
        sa.CheckConstraint(
            "(status = 'completed') = (completed_at IS NOT NULL)", name=op.f("ck_port_messages_completed")
        ),
        sa.CheckConstraint(
            "status <> 'dead_letter' OR error_type IS NOT NULL", name=op.f("ck_port_messages_dead_letter")
        ),
        _json("port_messages", "message_metadata"),
        _json("port_messages", "error_details"),
        sqlite_autoincrement=True,
    )


def _index_messages() -> None:
    op.create_index(
        "ix_port_messages_channel",
        "port_messages",
        ["pipeline", "target_component", "port_name", "seq"],
        **_where("status = 'pending' AND NOT parked", "status = 'pending' AND parked = 0"),
    )
    op.create_index("ix_port_messages_completed", "port_messages", ["completed_at"], **_where("status = 'completed'"))
    op.create_index(
        "ix_port_messages_dead_letters",
        "port_messages",
        ["pipeline", "target_component", "seq"],
        **_where("status = 'dead_letter'"),
    )
    op.create_index("uq_port_messages_handle", "port_messages", ["handle"], unique=True, **_where("handle IS NOT NULL"))
    op.create_index(
        "ix_port_messages_parked",
        "port_messages",
        ["pipeline", "seq"],
        **_where(
            "parked AND status IN ('pending', 'processing', 'failed')",
            "parked = 1 AND status IN ('pending', 'processing', 'failed')",
        ),
    )


def _create_state() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("checkpoint_name", sa.Text(), nullable=False, server_default=""),
        sa.Column("component_name", sa.Text(), nullable=False),
        sa.Column("checkpoint_data", JSON_TEXT, nullable=False),
        sa.Column("checkpoint_metadata", JSON_TEXT),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.PrimaryKeyConstraint("pipeline", "checkpoint_name", "component_name", name="pk_checkpoints"),
        sa.CheckConstraint("version >= 0", name=op.f("ck_checkpoints_version")),
        _json("checkpoints", "checkpoint_data"),
        _json("checkpoints", "checkpoint_metadata"),
    )
    op.create_table(
        "component_state",
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("component_name", sa.Text(), nullable=False),
        sa.Column("state_name", sa.Text(), nullable=False),
        sa.Column("state_key", sa.Text(), nullable=False),
        sa.Column("state_data", JSON_TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "component_name", "state_name", "state_key", name="pk_component_state"),
        sa.CheckConstraint("version >= 0", name=op.f("ck_component_state_version")),
    )


def _create_metrics() -> None:
    op.create_table(
        "component_metrics",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("component_name", sa.Text(), nullable=False),
        sa.Column("metric_name", sa.Text(), nullable=False),
        sa.Column("metric_value", sa.Double(), nullable=False),
        sa.Column("metric_unit", sa.Text(), nullable=False),
        sa.Column("metric_metadata", JSON_TEXT),
        sa.Column("timestamp", INSTANT, nullable=False),
        _json("component_metrics", "metric_metadata"),
    )
    op.create_index(
        "ix_component_metrics_component",
        "component_metrics",
        ["pipeline", "component_name", "metric_name", "timestamp"],
    )
    op.create_index("ix_component_metrics_time", "component_metrics", ["timestamp"])
    op.create_table(
        "port_metrics",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("component_name", sa.Text(), nullable=False),
        sa.Column("port_name", sa.Text(), nullable=False),
        sa.Column("messages_sent", sa.BigInteger(), nullable=False),
        sa.Column("messages_received", sa.BigInteger(), nullable=False),
        sa.Column("messages_dropped", sa.BigInteger(), nullable=False),
        sa.Column("buffer_utilization", sa.Double(), nullable=False),
        sa.Column("buffer_histogram", JSON_TEXT, nullable=False),
        sa.Column("oldest_message_age_ms", sa.Double()),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.CheckConstraint(
            "messages_sent >= 0 AND messages_received >= 0 AND messages_dropped >= 0",
            name=op.f("ck_port_metrics_counts"),
        ),
        _json("port_metrics", "buffer_histogram"),
    )
    op.create_index("ix_port_metrics_port", "port_metrics", ["pipeline", "component_name", "port_name", "timestamp"])
    op.create_index("ix_port_metrics_time", "port_metrics", ["timestamp"])
    op.create_table(
        "system_health",
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("component_name", sa.Text(), nullable=False),
        sa.Column("health_status", sa.Text(), nullable=False),
        sa.Column("health_details", JSON_TEXT),
        sa.Column("last_heartbeat", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "component_name", name="pk_system_health"),
        sa.CheckConstraint(
            "health_status = 'healthy' OR health_status = 'degraded' OR health_status = 'unhealthy' "
            "OR health_status = 'unknown'",
            name=op.f("ck_system_health_health_status"),
        ),
        _json("system_health", "health_details"),
    )


def _create_storage_and_savepoints() -> None:
    stamp = sa.text(STAMP[op.get_bind().dialect.name])
    op.create_table(
        "sink_storage",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("sink_name", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text()),
        sa.Column("data", JSON_TEXT, nullable=False),
        sa.Column("metadata", JSON_TEXT),
        sa.Column("created_at", INSTANT, nullable=False, server_default=stamp),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=stamp),
        _json("sink_storage", "data"),
        _json("sink_storage", "metadata"),
    )
    op.create_index("ix_sink_storage_sink", "sink_storage", ["pipeline", "sink_name", "id"])
    op.create_table(
        "savepoint_messages",
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("checkpoint_name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("row", JSON_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "checkpoint_name", "seq", name="pk_savepoint_messages"),
        _json("savepoint_messages", "row"),
    )
    op.create_table(
        "savepoint_state",
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("checkpoint_name", sa.Text(), nullable=False),
        sa.Column("component_name", sa.Text(), nullable=False),
        sa.Column("state_name", sa.Text(), nullable=False),
        sa.Column("state_key", sa.Text(), nullable=False),
        sa.Column("state_data", JSON_TEXT, nullable=False),
        sa.PrimaryKeyConstraint(
            "pipeline", "checkpoint_name", "component_name", "state_name", "state_key", name="pk_savepoint_state"
        ),
        _json("savepoint_state", "state_data"),
    )
    op.create_table(
        "schema_version",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("applied_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_schema_version"),
    )
