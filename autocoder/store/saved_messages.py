"""The messages of a savepoint: rows of `port_messages` as JSON, copied, read page by page, and put back.

What is put back and what is not stands at the head of `savepoints`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.store.tables import port_messages, savepoint_messages

OPEN: Final = ("pending", "processing", "failed")
CHUNK: Final = 500


async def copy_messages(connection: AsyncConnection, pipeline: str, name: str) -> tuple[int, int]:
    """Copy what waits, and the dead letters, into a savepoint; returns how many rows, and how many of them wait."""
    table, after, copied, waiting = port_messages.c, 0, 0, 0
    query = sa.select(port_messages).where(table.pipeline == pipeline, table.status.in_([*OPEN, "dead_letter"]))
    while True:
        page = query.where(table.seq > after).order_by(table.seq).limit(CHUNK)
        rows = (await connection.execute(page)).mappings().all()
        if not rows:
            return copied, waiting
        after = rows[-1]["seq"]
        copied += len(rows)
        waiting += sum(row["status"] in OPEN for row in rows)
        await connection.execute(
            sa.insert(savepoint_messages),
            [{"pipeline": pipeline, "checkpoint_name": name, "seq": row["seq"], "row": _to_json(row)} for row in rows],
        )


async def restore_messages(
    connection: AsyncConnection, pipeline: str, name: str, *, last_seq: int, taken_at: datetime
) -> None:
    """Bring the messages of a pipeline to how they were: those of the savepoint wait again, what came out of them is gone.

    `last_seq` is the highest seq that there was when it was taken. Messages sent from outside since then stay, and are
    given again.
    """
    table = port_messages.c
    mine = table.pipeline == pipeline
    sent = sa.and_(table.source_component == "", table.handle.is_(None))
    resolved = sa.cast(table.message_metadata, sa.Text).contains('"resolved"')
    saved = sa.select(savepoint_messages.c.seq).where(
        savepoint_messages.c.pipeline == pipeline, savepoint_messages.c.checkpoint_name == name
    )
    await connection.execute(
        sa.delete(port_messages).where(mine, table.status.in_(OPEN), table.seq.not_in(saved), ~sent)
    )
    # On PostgreSQL a message of a lower seq may have been committed after the savepoint was taken.
    since = table.seq > last_seq
    if connection.dialect.name != "sqlite":
        since = sa.or_(since, table.completed_at > taken_at)
    again = {"status": "pending", "parked": False, "completed_at": None, "processed_at": None, "retry_count": 0}
    await connection.execute(
        sa.update(port_messages)
        .where(mine, table.status == "completed", sent, since, table.seq.not_in(saved))
        .where(sa.or_(table.message_metadata.is_(None), ~resolved))
        .values(again)
    )
    async for rows in saved_pages(connection, pipeline, name):
        await _put_back(connection, rows)


async def _put_back(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Bring rows back to how they were, but no dead letter of now, and no dead letter of then that nobody replayed."""
    table = port_messages.c
    query = sa.select(table.seq, table.status, table.replayed, table.message_metadata)
    found = {
        each.seq: each for each in await connection.execute(query.where(table.seq.in_([row["seq"] for row in rows])))
    }
    missing: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for row in rows:
        there, was_dead = found.get(row["seq"]), row["status"] == "dead_letter"
        if there is None:
            if not was_dead:  # a dead letter that is gone was discarded, and retention has taken it
                missing.append(row)
            continue
        resolved = "resolved" in json.loads(there.message_metadata or "{}")
        if there.status == "dead_letter" or resolved or (was_dead and there.replayed == row["replayed"]):
            continue
        changed.append({**row, "replayed": max(there.replayed, row["replayed"]), "this_seq": row["seq"]})
    if missing:
        await connection.execute(sa.insert(port_messages), missing)
    if changed:
        values: dict[str, Any] = {name: sa.bindparam(name) for name in rows[0] if name != "seq"}
        await connection.execute(
            sa.update(port_messages).where(table.seq == sa.bindparam("this_seq")).values(values), changed
        )


async def saved_pages(connection: AsyncConnection, pipeline: str, name: str) -> AsyncIterator[Sequence[dict[str, Any]]]:
    """The rows of `port_messages` in a savepoint, in order, page by page."""
    table, after = savepoint_messages.c, 0
    query = sa.select(table.seq, table.row).where(table.pipeline == pipeline, table.checkpoint_name == name)
    while True:
        page = query.where(table.seq > after).order_by(table.seq).limit(CHUNK)
        rows = (await connection.execute(page)).all()
        if not rows:
            return
        yield [_from_json(each.row) for each in rows]
        after = rows[-1].seq


_MOMENTS: Final = ("next_retry_at", "created_at", "processed_at", "completed_at")


def _to_json(row: Mapping[Any, Any]) -> str:
    return json.dumps(
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    )


def _from_json(text: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(text)
    for name in _MOMENTS:
        if row.get(name) is not None:
            row[name] = datetime.fromisoformat(row[name])
    return row
