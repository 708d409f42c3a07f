"""The rows of parked messages, as an epoch leaves them: written together, each once, never back from completed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from autocoder.statement import Statement
from autocoder.store import bulk
from autocoder.store.epoch import Parked
from autocoder.store.tables import port_messages

COMPLETED: Final[sa.ColumnElement[str]] = sa.literal_column("'completed'")
PARKED: Final = (
    "status",
    "parked",
    "retry_count",
    "max_retries",
    "next_retry_at",
    "processed_at",
    "completed_at",
    "error_type",
    "error_message",
    "error_details",
)
"""The columns that change with how a parked message stands."""


def park(connection: sa.Connection, pipeline: str, parked: Iterable[Parked], moment: datetime) -> None:
    """Bring the rows of parked messages up to date; a handle that is not there yet is inserted.

    A completed row stays as it is: an answer that comes late changes nothing.
    """
    made: list[dict[str, Any]] = []
    changed: dict[type, list[dict[str, Any]]] = {int: [], str: []}
    for each in parked:
        values = _parked_values(each, moment)
        if isinstance(each.reference, str) and each.status != "completed":
            made.append({**_made_values(pipeline, each, moment), **values})
        else:
            row = {f"to_{name}": value for name, value in values.items()}
            changed[type(each.reference)].append({"of": pipeline, "which": each.reference, **row})
    if made:
        bulk.execute(connection, Statement(_insert_parked(connection.dialect.name == "sqlite"), made))
    table = port_messages.c
    for kind, column in ((int, table.seq), (str, table.handle)):
        if changed[kind]:
            bulk.execute(connection, Statement(_change_parked(column), changed[kind]))


def _made_values(pipeline: str, each: Parked, moment: datetime) -> dict[str, Any]:
    """What the row of a message has from its beginning."""
    return {
        "pipeline": pipeline,
        "target_component": each.component,
        "port_name": each.port,
        "source_component": "",
        "message_data": each.data,
        "handle": each.reference,
        "message_metadata": None if each.identity is None else json.dumps({"identity": each.identity}),
        "order_key": each.order_key,
        "created_at": moment,
    }


@cache
def _change_parked(reference: sa.Column[Any]) -> sa.Update:
    """Change the row of one reference, `which`, that is not completed."""
    table = port_messages.c
    changes: dict[str, Any] = {name: sa.bindparam(f"to_{name}", type_=table[name].type) for name in PARKED}
    changes["error_details"] = sa.func.coalesce(changes["error_details"], table.error_details)
    mine = (table.pipeline == sa.bindparam("of"), reference == sa.bindparam("which"), table.status != COMPLETED)
    return sa.update(port_messages).where(*mine).values(changes)


@cache
def _insert_parked(on_sqlite: bool) -> Any:
    """Insert the row of a handle; where it is there already, and not completed, it is changed."""
    table = port_messages.c
    statement: Any = (sqlite if on_sqlite else postgresql).insert(port_messages).inline()
    changes = {name: statement.excluded[name] for name in PARKED}
    changes["error_details"] = sa.func.coalesce(changes["error_details"], table.error_details)
    return statement.on_conflict_do_update(
        index_elements=[table.handle],
        index_where=table.handle.is_not(None),
        set_=changes,
        where=(table.pipeline == statement.excluded.pipeline) & (table.status != COMPLETED),
    )


def _parked_values(each: Parked, moment: datetime) -> dict[str, Any]:
    details: Mapping[str, Any] | None = each.details
    return {
        "status": each.status,
        "parked": True,
        "retry_count": each.attempts,
        "max_retries": each.max_attempts,
        "next_retry_at": each.next_retry_at if each.status == "failed" else None,
        "processed_at": moment,
        "completed_at": moment if each.status == "completed" else None,
        "error_type": each.error_type,
        "error_message": each.error_message,
        # What a replayed message failed with before stands in its details, and stays there.
        "error_details": None if details is None else json.dumps(details),
    }
