"""Deletes what nobody needs any more, in small batches, each a short transaction: whatever stops it, the next goes on.

Only what is done with: completed messages, metrics, and checkpoints whose maker said when they expire. Never touched are
dead letters and all messages that still wait, the running positions, and checkpoints that a person named: these have no
expiry, and hold copies of their messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import anyio
import sqlalchemy as sa

from autocoder.database import Database
from autocoder.database_options import DatabaseOptions
from autocoder.durations import later
from autocoder.store.columns import now
from autocoder.store.failpoints import reached
from autocoder.store.tables import (
    checkpoints,
    component_metrics,
    port_messages,
    port_metrics,
    savepoint_messages,
    savepoint_state,
)

BATCH: Final = 500
PAUSE_SECONDS: Final = 0.02
DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept: metrics and completed messages in seconds, expiring checkpoints by number."""

    metrics: float = 30 * DAY
    messages: float = 7 * DAY
    checkpoints: int = 10

    @classmethod
    def of(cls, options: DatabaseOptions) -> Retention:
        """What the settings of a database say."""
        return cls(options.keep_metrics, options.keep_messages, options.keep_checkpoints)


async def clean_up(
    database: Database, retention: Retention, *, dry_run: bool = False, moment: datetime | None = None
) -> Mapping[str, int]:
    """Delete what is older than `retention` says, of every pipeline; returns the number of rows by table.

    With `dry_run` it only counts. Safe beside running pipelines and in several processes at once.
    """
    moment = moment or now()
    completed = sa.and_(
        # As a literal: SQLite uses a partial index only where the query has its very words.
        port_messages.c.status == sa.literal_column("'completed'"),
        port_messages.c.completed_at < _before(moment, retention.messages),
    )
    counts = {"port_messages": await _clear(database, port_messages.c.completed_at, completed, dry_run)}
    for table in (component_metrics, port_metrics):
        old = table.c.timestamp < _before(moment, retention.metrics)
        counts[table.name] = await _clear(database, table.c.timestamp, old, dry_run)
    counts["checkpoints"] = await _clear_checkpoints(database, retention.checkpoints, moment, dry_run)
    return counts


def _before(moment: datetime, seconds: float) -> datetime:
    return later(moment, -seconds)


async def _clear(database: Database, time: sa.Column[Any], old: Any, dry_run: bool) -> int:
    """Delete the rows that are `old`, the oldest first: by their time, which has an index, there is nothing to search."""
    table = time.table
    (key,) = table.primary_key
    if dry_run:
        async with database.reading() as connection:
            query = sa.select(sa.func.count()).select_from(table).where(old)
            return int((await connection.execute(query)).scalar_one())
    deleted = 0
    chosen = sa.select(key).where(old).order_by(time).limit(BATCH).with_for_update(skip_locked=True)
    while True:
        async with database.transaction() as connection:
            found = await connection.execute(sa.delete(table).where(key.in_(chosen)))
            reached("retention.batch")
        deleted += found.rowcount
        if found.rowcount < BATCH:
            return deleted
        await anyio.sleep(PAUSE_SECONDS)  # let commits go first


async def _clear_checkpoints(database: Database, keep: int, moment: datetime, dry_run: bool) -> int:
    """Expired ones beyond the newest `keep` of each pipeline, each with its copies in one transaction."""
    table = checkpoints.c
    made = sa.func.max(table.created_at)
    query = (
        sa.select(table.pipeline, table.checkpoint_name, sa.func.max(table.expires_at).label("expires"))
        .where(table.checkpoint_name != "", table.expires_at.is_not(None))
        .group_by(table.pipeline, table.checkpoint_name)
        .order_by(table.pipeline, made.desc(), table.checkpoint_name)
    )
    async with database.reading() as connection:
        rows = list(await connection.execute(query))
    gone = [row for row in _beyond(rows, keep) if row.expires < moment]
    for row in () if dry_run else gone:
        async with database.transaction() as connection:
            for each in (savepoint_messages, savepoint_state, checkpoints):
                await connection.execute(
                    sa.delete(each).where(
                        each.c.pipeline == row.pipeline, each.c.checkpoint_name == row.checkpoint_name
                    )
                )
            reached("retention.checkpoint")
    return len(gone)


def _beyond(rows: Sequence[Any], keep: int) -> list[Any]:
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        seen[row.pipeline] = seen.get(row.pipeline, 0) + 1
        if seen[row.pipeline] > keep:
            found.append(row)
    return found
