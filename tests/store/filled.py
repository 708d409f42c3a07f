"""A store with a little of everything in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from autocoder.database import Database
from autocoder.store.tables import checkpoints, component_state, metadata, port_messages, regions

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def message(status: str = "pending", **values: Any) -> dict[str, Any]:
    """A row of `port_messages`, as the runtime would write it."""
    row: dict[str, Any] = {
        "pipeline": "p",
        "target_component": "c",
        "port_name": "in",
        "source_component": "s",
        "message_data": '{"text": "\\u0000 é \\ud83d\\ude00", "n": 1.50}',
        "status": status,
        "parked": status in ("processing", "failed", "dead_letter"),
        "completed_at": MOMENT if status == "completed" else None,
        "error_type": "ValueError" if status == "dead_letter" else None,
        "created_at": MOMENT,
    }
    return {**row, **values}


async def fill(database: Database) -> None:
    """Rows of a pipeline `p` that has run."""
    async with database.transaction() as connection:
        await connection.execute(
            sa.insert(regions).values(pipeline="p", region="r", token=3, epoch=7, committed_at=MOMENT)
        )
        for status in ("pending", "completed", "dead_letter", "failed"):
            await connection.execute(sa.insert(port_messages).values(message(status)))
        await connection.execute(
            sa.insert(checkpoints).values(
                pipeline="p", component_name="s", checkpoint_data="[1, 2]", version=7, created_at=MOMENT
            )
        )
        await connection.execute(
            sa.insert(component_state).values(
                pipeline="p",
                component_name="c",
                state_name="total",
                state_key="k",
                state_data="1",
                version=7,
                updated_at=MOMENT,
            )
        )


async def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for what differs from database to database by design."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    async with database.reading() as connection:
        for table in metadata.sorted_tables:
            columns = [each for each in table.columns if (table.name, each.name) != ("regions", "token")]
            if table.name != "schema_version":
                rows = await connection.execute(sa.select(*columns).order_by(*table.primary_key))
                found[table.name] = [tuple(row) for row in rows]
    return found
