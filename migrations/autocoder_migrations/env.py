"""Runs migrations on the connection that `autocoder.store.migrate` hands over, inside its transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from autocoder.store.tables import VERSION_TABLE, metadata, schema_version


def record(ctx: MigrationContext, step: Any, heads: Collection[Any], run_args: Mapping[str, Any]) -> None:
    """Keep what was applied in `schema_version`, for people; the version table says what holds."""
    connection = ctx.connection
    if connection is None:
        return
    if not sa.inspect(connection).has_table(schema_version.name):
        return  # the step down to nothing has dropped it
    connection.execute(
        sa.delete(schema_version).where(schema_version.c.version.in_([each.revision for each in step.up_revisions]))
    )
    if step.is_upgrade:
        moment = datetime.now(UTC)
        connection.execute(
            sa.insert(schema_version),
            [{"version": each.revision, "description": each.doc, "applied_at": moment} for each in step.up_revisions],
        )


connection = context.config.attributes.get("connection")
if connection is None:
    raise CommandError("these migrations are run by `autocoder db`, which opens the database of the settings")
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
    compare_type=True,
    on_version_apply=record,
)
context.run_migrations()
