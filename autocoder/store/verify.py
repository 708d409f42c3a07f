"""Looks for what must never be in a database: damage to the file, and rows that break a rule of the store."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.store.columns import Instant, JsonText
from autocoder.store.tables import STATUSES, metadata

RULES_GROUP: Final = "autocoder.rules"
"""Entry points of packs: each names `(table, what is wrong, the rows that are)` of its own, judged where that table is."""

# `(what is wrong, the rows that are)`; each holds on both databases.
RULES: Final = (
    (
        "messages with a status that there is not",
        f"port_messages WHERE status NOT IN ({', '.join(repr(each) for each in STATUSES)})",
    ),
    (
        "messages whose completion and time of completion disagree",
        "port_messages WHERE (status = 'completed') <> (completed_at IS NOT NULL)",
    ),
    ("dead letters without an error", "port_messages WHERE status = 'dead_letter' AND error_type IS NULL"),
    (
        "messages being processed or tried again that no component holds",
        "port_messages WHERE status IN ('processing', 'failed') AND NOT parked",
    ),
    ("messages with fewer than no attempts", "port_messages WHERE retry_count < 0 OR max_retries < 0 OR replayed < 0"),
    (
        "handles that stand for several messages",
        "(SELECT handle FROM port_messages WHERE handle IS NOT NULL GROUP BY handle HAVING count(*) > 1) AS twice",
    ),
    (
        "parked messages of a pipeline that never ran",
        "port_messages m WHERE m.parked AND NOT EXISTS (SELECT 1 FROM regions r WHERE r.pipeline = m.pipeline)",
    ),
    (
        "state of a pipeline that never ran",
        "component_state s WHERE NOT EXISTS (SELECT 1 FROM regions r WHERE r.pipeline = s.pipeline)",
    ),
    (
        "state that is ahead of its pipeline's epochs",
        "component_state s WHERE s.version > (SELECT max(r.epoch) FROM regions r WHERE r.pipeline = s.pipeline)",
    ),
    (
        "positions of a pipeline that never ran",
        "checkpoints c WHERE NOT EXISTS (SELECT 1 FROM regions r WHERE r.pipeline = c.pipeline)",
    ),
    (
        "positions that are ahead of their pipeline's epochs",
        "checkpoints c WHERE c.checkpoint_name = '' "
        "AND c.version > (SELECT max(r.epoch) FROM regions r WHERE r.pipeline = c.pipeline)",
    ),
    ("leases without an owner", "regions WHERE (owner IS NULL) <> (expires_at IS NULL)"),
)


async def violations(connection: AsyncConnection, *, is_sqlite: bool) -> list[str]:
    """Everything wrong, in words; empty where all is well. Reads all of it: minutes where there are gigabytes."""
    found: list[str] = []
    if is_sqlite:
        for pragma in ("integrity_check(20)", "foreign_key_check"):
            rows = list(await connection.execute(sa.text(f"PRAGMA {pragma}")))
            found += [f"the file: {' '.join(map(str, row))}" for row in rows if tuple(row) != ("ok",)]
        if any("malformed" in each or "database disk image" in each for each in found):
            return found
    for what, rows_of in (*RULES, *await _rules_of_packs(connection)):
        number = (await connection.execute(sa.text(f"SELECT count(*) FROM {rows_of}"))).scalar_one()  # noqa: S608
        if number:
            found.append(f"{number:,} {what}")
    if is_sqlite:  # PostgreSQL takes nothing else into a column of JSON
        found += await _invalid_json(connection)
        found += await _invalid_moments(connection)
    return found


async def _rules_of_packs(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
    there = await connection.run_sync(lambda each: frozenset(sa.inspect(each).get_table_names()))
    packs = sorted(entry_points(group=RULES_GROUP), key=lambda each: each.name)
    return [(what, rows_of) for pack in packs for table, what, rows_of in pack.load() if table in there]


async def _invalid_moments(connection: AsyncConnection) -> list[str]:
    found: list[str] = []
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, Instant):
                kinds = sa.func.typeof(column).not_in(["integer", "null"])
                query = sa.select(sa.func.count()).select_from(table).where(kinds)
                number = (await connection.execute(query)).scalar_one()
                if number:
                    found.append(f"{number:,} rows of {table.name} whose {column.name} is no moment")
    return found


async def _invalid_json(connection: AsyncConnection) -> list[str]:
    found: list[str] = []
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, JsonText):
                query = (
                    sa.select(sa.func.count())
                    .select_from(table)
                    .where(column.is_not(None), sa.func.json_valid(column) == 0)
                )
                number = (await connection.execute(query)).scalar_one()
                if number:
                    found.append(f"{number:,} rows of {table.name} whose {column.name} is no JSON")
    return found
