"""The tables of the framework, defined once for both databases. Migrations are held to exactly this definition.

What differs between the databases is a column's type alone (see `columns`). PostgreSQL refuses text that is no JSON by
the type of the column, SQLite by a CHECK; not so payloads and keyed state, whose writing that would slow by a fifth: what
a hand broke there becomes a dead letter, and `autocoder db verify` finds it. Rows are stamped by whoever writes them and
not by triggers: a stamp is then the same for all rows of an epoch.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, MetaData, PrimaryKeyConstraint, Table

from autocoder.store.columns import BigKey, Instant, JsonText, Spare, Stamp

SCHEMA_VERSION: Final = "0001"
"""The newest revision of the framework's migrations, which this definition equals."""
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
    """Not by IN: for a list SQLite builds a table at every row, which makes an insert dearer by a third."""
    return " OR ".join(f"{column} = {each!r}" for each in values)


def _json(*columns: str) -> tuple[CheckConstraint, ...]:
    """SQLite's part of what the type `json` does on PostgreSQL; older versions call NULL invalid."""
    return tuple(
        CheckConstraint(f"{column} IS NULL OR json_valid({column})", name=f"{column}_json").ddl_if(dialect="sqlite")
        for column in columns
    )


def _not_negative(*columns: str) -> str:
    return " AND ".join(f"{column} >= 0" for column in columns)


# A region is the unit of commit and of ownership. `token` grows with every take-over: a commit under an older one fails.
# `unclean_starts` counts the starts since the last commit; a lease is held until `expires_at`,
# by an owner that has the pipeline's lock as well (`locked`) or took over from one that is frozen and still has that.
regions = Table(
    "regions",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("region", sa.Text, nullable=False),
    Column("token", sa.BigInteger, nullable=False, server_default="0"),
    Column("owner", sa.Text),
    Column("expires_at", Instant),
    Column("locked", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
    Column("unclean_starts", sa.Integer, nullable=False, server_default="0"),
    Column("fingerprint", JsonText),
    Column("committed_at", Instant),
    PrimaryKeyConstraint("pipeline", "region"),
    CheckConstraint(_not_negative("token", "epoch", "unclean_starts"), name="counts"),
    *_json("fingerprint"),
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
    Column("spare", sa.Text, server_default=Spare()),
    CheckConstraint(_one_of("status", STATUSES), name="status"),
    CheckConstraint(_not_negative("retry_count", "max_retries", "replayed"), name="counts"),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed"),
    CheckConstraint("status <> 'dead_letter' OR error_type IS NOT NULL", name="dead_letter"),
    *_json("message_metadata", "error_details"),
    sqlite_autoincrement=True,
)
# Few rows have a handle, and an index over all would be written for each.
Index(
    "uq_port_messages_handle",
    port_messages.c.handle,
    unique=True,
    sqlite_where=port_messages.c.handle.is_not(None),
    postgresql_where=port_messages.c.handle.is_not(None),
)
# What stands on a durable channel, with a literal: SQLite uses a partial index only where a query has its very words.
IS_ON_CHANNEL: Final = (port_messages.c.status == sa.literal_column("'pending'")) & ~port_messages.c.parked
Index(
    "ix_port_messages_channel",
    port_messages.c.pipeline,
    port_messages.c.target_component,
    port_messages.c.port_name,
    port_messages.c.seq,
    sqlite_where=IS_ON_CHANNEL,
    postgresql_where=IS_ON_CHANNEL,
)
# Parked and still to be handled, likewise.
IS_OPEN: Final = port_messages.c.parked & port_messages.c.status.in_(
    [sa.literal_column(f"'{each}'") for each in ("pending", "processing", "failed")]
)
Index(
    "ix_port_messages_parked",
    port_messages.c.pipeline,
    port_messages.c.seq,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
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
    CheckConstraint(_not_negative("version"), name="version"),
    *_json("checkpoint_data", "checkpoint_metadata"),
)

# One row for each key. The kind of the component stands in the pipeline, and the epoch is the version.
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
    CheckConstraint(_not_negative("version"), name="version"),
)

# Counters of a run as they stood at a moment; `metric_metadata` names the run, so that a new one is no step backwards.
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
    *_json("metric_metadata"),
    Index("ix_component_metrics_time", "timestamp"),
    Index("ix_component_metrics_component", "pipeline", "component_name", "metric_name", "timestamp"),
)

# An input port at a moment. `buffer_utilization` is the waiting part of the capacity (above 1: more than fits waits),
# `buffer_histogram` how often it was found in each tenth since the row before, `oldest_message_age_ms` that of the head
# of a durable channel.
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
    Column("buffer_histogram", JsonText, nullable=False),
    Column("oldest_message_age_ms", sa.Double),
    Column("timestamp", Instant, nullable=False),
    CheckConstraint(_not_negative("messages_sent", "messages_received", "messages_dropped"), name="counts"),
    *_json("buffer_histogram"),
    Index("ix_port_metrics_time", "timestamp"),
    Index("ix_port_metrics_port", "pipeline", "component_name", "port_name", "timestamp"),
)

# The health of each component as its last owner saw it, one row for each.
system_health = Table(
    "system_health",
    metadata,
    Column("pipeline", sa.Text, nullable=False),
    Column("component_name", sa.Text, nullable=False),
    Column("health_status", sa.Text, nullable=False),
    Column("health_details", JsonText),
    Column("last_heartbeat", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("pipeline", "component_name"),
    CheckConstraint(_one_of("health_status", HEALTH), name="health_status"),
    *_json("health_details"),
)

# Rows for sinks that have no table of their own. Nothing of the framework writes here: `sql.Insert` with `table: sink_storage`
# does, for payloads with these fields, and so may any sink that hands over statements. So these rows are stamped here.
sink_storage = Table(
    "sink_storage",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("pipeline", sa.Text, nullable=False),
    Column("sink_name", sa.Text, nullable=False),
    Column("data_type", sa.Text),
    Column("data", JsonText, nullable=False),
    Column("metadata", JsonText),
    Column("created_at", Instant, nullable=False, server_default=Stamp()),
    Column("updated_at", Instant, nullable=False, server_default=Stamp()),
    *_json("data", "metadata"),
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
    *_json("row"),
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
    *_json("state_data"),
)

# What was done to the schema, for people; what it is now says Alembic's own table, VERSION_TABLE.
schema_version = Table(
    "schema_version",
    metadata,
    Column("version", sa.Text, nullable=False),
    Column("description", sa.Text, nullable=False),
    Column("applied_at", Instant, nullable=False),
    PrimaryKeyConstraint("version"),
)

VERSION_TABLE: Final = "autocoder_schema"
revisions = Table(
    VERSION_TABLE,
    MetaData(),  # Alembic's own, of which it makes the rest
    Column("version_num", sa.String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
DEAD_LETTER_QUEUE: Final = "dead_letter_queue"
# By name: PostgreSQL would freeze a `*` to the columns of the day.
_TOLD: Final = ", ".join(column.name for column in port_messages.columns if column.name != "spare")
DEAD_LETTER_QUEUE_SQL: Final = f"SELECT {_TOLD} FROM port_messages WHERE status = 'dead_letter'"  # noqa: S608
