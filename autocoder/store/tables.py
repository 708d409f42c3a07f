"""The tables of the framework, defined once for both databases. Migrations are held to exactly this definition."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint

from autocoder.store.columns import BigKey, Instant, JsonText

SCHEMA_VERSION: Final = "0001"
STATUSES: Final = ("pending", "processing", "completed", "failed", "dead_letter")
HEALTH: Final = ("healthy", "degraded", "unhealthy", "unknown")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(each) for each in values)})"


def _not_negative(*columns: str) -> str:
    return " AND ".join(f"{column} >= 0" for column in columns)


# A region is the unit of commit and of ownership. `token` grows with every take-over: a commit under an older one fails.
# `unclean_starts` counts the starts since the last commit; `heartbeat` tells the living from the frozen.
regions = Table(
    "regions",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("region", sa.Text, nullable=False),
    Column("token", sa.BigInteger, nullable=False, server_default="0"),
    Column("owner", sa.Text),
    Column("expires_at", Instant),
    Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
    Column("unclean_starts", sa.Integer, nullable=False, server_default="0"),
    Column("fingerprint", JsonText),
    Column("committed_at", Instant),
    PrimaryKeyConstraint("pipeline", "region"),
    CheckConstraint(_not_negative("token", "epoch", "unclean_starts"), name="counts"),
)

# Messages that are rows: those of durable channels, and the parked ones of any input port. `seq` orders a channel;
# `handle` names a parked row before the database has given it a seq; a parked row belongs to its component's snapshot.
port_messages = Table(
    "port_messages",
    metadata,
    Column("seq", BigKey, primary_key=True, autoincrement=True),
    Column("pipeline", sa.Text, nullable=False),
    Column("target_component", sa.Text, nullable=False),
    Column("port_name", sa.Text, nullable=False),
    Column("source_component", sa.Text, nullable=False),
    Column("message_data", JsonText),
    Column("message_metadata", JsonText),
    Column("order_key", sa.Text),
    Column("status", sa.Text, nullable=False, server_default="pending"),
    Column("parked", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("handle", sa.Text),
    Column("retry_count", sa.Integer, nullable=False, server_default="0"),
    Column("max_retries", sa.Integer, nullable=False, server_default="0"),
    Column("next_retry_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("processed_at", Instant),
    Column("completed_at", Instant),
    Column("replayed", sa.Integer, nullable=False, server_default="0"),
    Column("error_type", sa.Text),
    Column("error_message", sa.Text),
    Column("error_details", JsonText),
    CheckConstraint(_one_of("status", STATUSES), name="status"),
    CheckConstraint(_not_negative("retry_count", "max_retries", "replayed"), name="counts"),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed"),
    CheckConstraint("status <> 'dead_letter' OR error_type IS NOT NULL", name="dead_letter"),
    UniqueConstraint("handle"),
    sqlite_autoincrement=True,
)
_waits = port_messages.c.status == "pending"
Index(
    "ix_port_messages_channel",
    port_messages.c.pipeline,
    port_messages.c.target_component,
    port_messages.c.port_name,
    port_messages.c.seq,
    sqlite_where=_waits & ~port_messages.c.parked,
    postgresql_where=_waits & ~port_messages.c.parked,
)
_open = port_messages.c.parked & port_messages.c.status.in_(["pending", "processing", "failed"])
Index(
    "ix_port_messages_parked",
    port_messages.c.pipeline,
    port_messages.c.seq,
    sqlite_where=_open,
    postgresql_where=_open,
)
_dead = port_messages.c.status == "dead_letter"
Index(
    "ix_port_messages_dead_letters",
    port_messages.c.pipeline,
    port_messages.c.target_component,
    port_messages.c.seq,
    sqlite_where=_dead,
    postgresql_where=_dead,
)
_done = port_messages.c.status == "completed"
Index("ix_port_messages_completed", port_messages.c.completed_at, sqlite_where=_done, postgresql_where=_done)

# Where each source resumes. `name` is empty for the running position, else the name of a savepoint.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("checkpoint_name", sa.Text, nullable=False, server_default=""),
    Column("component_name", sa.Text, nullable=False),
    Column("checkpoint_data", JsonText, nullable=False),
    Column("checkpoint_metadata", JsonText),
    Column("version", sa.BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    PrimaryKeyConstraint("pipeline", "checkpoint_name", "component_name"),
)

component_state = Table(
    "component_state",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("component_name", sa.Text, nullable=False),
    Column("state_name", sa.Text, nullable=False),
    Column("state_key", sa.Text, nullable=False),
    Column("state_data", JsonText, nullable=False),
    Column("version", sa.BigInteger, nullable=False),
    Column("updated_at", Instant, nullable=False),
    PrimaryKeyConstraint("pipeline", "component_name", "state_name", "state_key"),
)

component_metrics = Table(
    "component_metrics",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("pipeline", sa.Text, nullable=False),
    Column("component_name", sa.Text, nullable=False),
    Column("metric_name", sa.Text, nullable=False),
    Column("metric_value", sa.Double, nullable=False),
    Column("metric_unit", sa.Text, nullable=False),
    Column("metric_metadata", JsonText),
    Column("timestamp", Instant, nullable=False),
    Index("ix_component_metrics_time", "timestamp"),
    Index("ix_component_metrics_component", "pipeline", "component_name", "metric_name", "timestamp"),
)

port_metrics = Table(
    "port_metrics",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("pipeline", sa.Text, nullable=False),
    Column("component_name", sa.Text, nullable=False),
    Column("port_name", sa.Text, nullable=False),
    Column("messages_sent", sa.BigInteger, nullable=False),
    Column("messages_received", sa.BigInteger, nullable=False),
    Column("messages_dropped", sa.BigInteger, nullable=False),
    Column("buffer_utilization", sa.Double, nullable=False),
    Column("timestamp", Instant, nullable=False),
    CheckConstraint(_not_negative("messages_sent", "messages_received", "messages_dropped"), name="counts"),
    Index("ix_port_metrics_time", "timestamp"),
)

system_health = Table(
    "system_health",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("component_name", sa.Text, nullable=False),
    Column("health_status", sa.Text, nullable=False),
    Column("health_details", JsonText),
    Column("last_heartbeat", Instant, nullable=False),
    PrimaryKeyConstraint("pipeline", "component_name"),
    CheckConstraint(_one_of("health_status", HEALTH), name="health_status"),
)

# Rows for sinks that have no table of their own.
sink_storage = Table(
    "sink_storage",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("pipeline", sa.Text, nullable=False),
    Column("sink_name", sa.Text, nullable=False),
    Column("data_type", sa.Text),
    Column("data", JsonText, nullable=False),
    Column("metadata", JsonText),
    Column("created_at", Instant, nullable=False),
    Index("ix_sink_storage_sink", "pipeline", "sink_name", "id"),
)

# The messages inside a savepoint: what `port_messages` held that was neither completed nor a dead letter.
savepoint_messages = Table(
    "savepoint_messages",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("checkpoint_name", sa.Text, nullable=False),
    Column("seq", sa.BigInteger, nullable=False),
    Column("row", JsonText, nullable=False),
    PrimaryKeyConstraint("pipeline", "checkpoint_name", "seq"),
)

savepoint_state = Table(
    "savepoint_state",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("checkpoint_name", sa.Text, nullable=False),
    Column("component_name", sa.Text, nullable=False),
    Column("state_name", sa.Text, nullable=False),
    Column("state_key", sa.Text, nullable=False),
    Column("state_data", JsonText, nullable=False),
    PrimaryKeyConstraint("pipeline", "checkpoint_name", "component_name", "state_name", "state_key"),
)

DEAD_LETTER_QUEUE: Final = "dead_letter_queue"
DEAD_LETTER_QUEUE_SQL: Final = "SELECT * FROM port_messages WHERE status = 'dead_letter'"
