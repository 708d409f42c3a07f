"""The table for what has no table of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from autocoder.database import open_database
from autocoder.pipeline import Pipeline
from autocoder.store.tables import sink_storage

PIPELINE = """
pipeline: keep
components:
  numbers:
    use: flow.Generate
    with: {count: 3, value: "{'pipeline': 'keep', 'sink_name': 'rows', 'data_type': 'number', 'data': {'n': i}}"}
  rows: {use: sql.Insert, from: numbers, with: {table: sink_storage}}
"""


@pytest.mark.anyio
async def test_any_payload_may_be_kept_there(url: str) -> None:
    await Pipeline.from_yaml(PIPELINE).run_async(database=url)
    async with open_database(url) as database, database.reading() as connection:
        rows = list(await connection.execute(sa.select(sink_storage).order_by(sink_storage.c.id)))
    assert [(row.pipeline, row.sink_name, row.data_type, json.loads(row.data)["n"]) for row in rows] == [
        ("keep", "rows", "number", number) for number in range(3)
    ]
    for row in rows:
        assert abs(row.created_at - datetime.now(UTC)) < timedelta(hours=1)
        assert abs(row.updated_at - row.created_at) < timedelta(seconds=1)
